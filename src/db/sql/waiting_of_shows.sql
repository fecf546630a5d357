-- How many frames of some shows wait that may be dispatched, and whether anything of the shows runs.
-- Parameters: $1 show ids. Rows: shows with such frames. Locks: none.
SELECT show.str_name::text AS show_name,
       waiting.frames::int8 AS frames,
       EXISTS (SELECT 1 FROM proc WHERE proc.pk_show = show.pk_show) AS has_procs
  FROM show
 CROSS JOIN LATERAL (
       SELECT sum(job_stat.int_waiting_count) AS frames
         FROM job
         JOIN job_stat ON job_stat.pk_job = job.pk_job AND job_stat.int_waiting_count > 0
        WHERE job.pk_show = show.pk_show AND job.str_state = 'PENDING' AND NOT job.b_paused
       ) AS waiting
 WHERE show.pk_show = ANY ($1::text[])
   AND waiting.frames > 0
 ORDER BY show.str_name
