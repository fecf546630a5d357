-- What the counters of waiting frames say, beside the frames that wait. One statement, so one snapshot:
-- a trigger changes the counters in the transaction that changes a frame's state, so that nothing in
-- flight looks wrong.
-- Parameters: $1 job ids, $2 shows whose pending jobs are compared as well, $3 whether only what is wrong
-- is wanted. Rows: layers, with the count of their job, and of their waiting frames those that a proc
-- holds. Locks: none.
-- Reads the waiting frames of each of these jobs once, by i_frame_state_job, and the procs of these jobs
-- by index, each with its frame: never a scan of frame, nor all frames of a layer.
WITH chosen AS MATERIALIZED (
    SELECT job.pk_job, job.str_name
      FROM job
     WHERE job.pk_job = ANY ($1)
        OR (job.str_state = 'PENDING' AND job.pk_show = ANY ($2))
), seen AS MATERIALIZED (
    SELECT waiting.pk_layer, waiting.frames
      FROM chosen
     CROSS JOIN LATERAL (
           SELECT frame.pk_layer, count(*) AS frames
             FROM frame
            WHERE frame.pk_job = chosen.pk_job AND frame.str_state = 'WAITING'
            GROUP BY frame.pk_layer
           ) AS waiting
), held AS MATERIALIZED (
    SELECT waiting.pk_layer, count(*) AS frames
      FROM chosen
      JOIN proc ON proc.pk_job = chosen.pk_job
     CROSS JOIN LATERAL (
           SELECT frame.pk_layer
             FROM frame
            WHERE frame.pk_frame = proc.pk_frame AND frame.str_state = 'WAITING'
            LIMIT 1
           ) AS waiting
     GROUP BY waiting.pk_layer
), compared AS (
    SELECT chosen.pk_job,
           chosen.str_name AS job_name,
           layer_stat.pk_layer,
           layer_stat.int_waiting_count AS layer_count,
           COALESCE(seen.frames, 0) AS layer_frames,
           COALESCE(held.frames, 0) AS layer_held,
           COALESCE(job_stat.int_waiting_count, 0) AS job_count,
           sum(COALESCE(seen.frames, 0)) OVER (PARTITION BY chosen.pk_job) AS job_frames
      FROM chosen
      JOIN layer_stat ON layer_stat.pk_job = chosen.pk_job
      LEFT JOIN job_stat ON job_stat.pk_job = chosen.pk_job
      LEFT JOIN seen ON seen.pk_layer = layer_stat.pk_layer
      LEFT JOIN held ON held.pk_layer = layer_stat.pk_layer
)
SELECT compared.pk_job::text AS job,
       compared.job_name::text AS job_name,
       compared.pk_layer::text AS layer,
       layer.str_name::text AS layer_name,
       compared.layer_count::int8 AS count,
       compared.layer_frames::int8 AS frames,
       compared.layer_held::int8 AS held,
       compared.job_count::int8 AS job_count,
       compared.job_frames::int8 AS job_frames
  FROM compared
  JOIN layer ON layer.pk_layer = compared.pk_layer
 WHERE NOT $3
    OR compared.layer_count <> compared.layer_frames
    OR compared.job_count <> compared.job_frames
 ORDER BY compared.job_name, layer.str_name, compared.pk_layer
