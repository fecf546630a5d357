-- Frames by id, or of pending jobs by the beginnings of the job's and the frame's name.
-- Parameters: $1 the id, $2 LIKE pattern of the job's name or NULL for ids only, $3 LIKE pattern of the
-- frame's name, $4 the job's exact name or id, $5 the frame's exact name, $6 most rows, $7 seconds by which
-- a host's report must be younger than a proc's last sign of life for the proc to be silent, $8 exit statuses
-- that are no failure of the frame's own.
-- Rows: frames with what runs them, the best match first. Locks: none.
-- A sign of life is a report, or Cuebot moving the proc to this frame. Cuebot writes a frame's host with its
-- cores and GPUs behind slashes.
-- One by key; the others through the pending jobs and the index of their frames.
SELECT frame.pk_frame::text AS id,
       frame.str_name::text AS name,
       frame.int_number::int8 AS number,
       frame.str_state::text AS state,
       COALESCE(host.str_name::text, split_part(frame.str_host::text, '/', 1)) AS host,
       GREATEST(frame.int_depend_count, 0)::int8 AS depend_count,
       frame.int_exit_status::int8 AS exit_status,
       frame.int_retries::int8 AS retries,
       CASE WHEN frame.str_state = 'WAITING'
                 AND frame.ts_stopped > now() - interval '5 minutes'
                 AND frame.int_exit_status <> ALL ($8::int8[])
            THEN GREATEST(extract(epoch FROM now() - frame.ts_stopped), 0)::int8 END AS failed_seconds,
       layer.pk_layer::text AS layer,
       layer.str_name::text AS layer_name,
       job.pk_job::text AS job,
       job.str_name::text AS job_name,
       job.str_state::text AS job_state,
       show.str_name::text AS show,
       proc.pk_proc::text AS proc,
       proc.int_cores_reserved::int8 AS int_cores,
       proc.int_mem_reserved::int8 AS int_mem,
       proc.int_gpus_reserved::int8 AS int_gpus,
       proc.int_gpu_mem_reserved::int8 AS int_gpu_mem,
       extract(epoch FROM current_timestamp - GREATEST(proc.ts_ping, proc.ts_dispatched))::int8 AS sign_seconds,
       COALESCE(proc.ts_ping > proc.ts_dispatched, false) AS is_reported,
       COALESCE(NOT proc.b_local
           AND host_stat.ts_ping > GREATEST(proc.ts_ping, proc.ts_dispatched) + make_interval(secs => $7::float8),
           false) AS is_silent,
       extract(epoch FROM current_timestamp - host_stat.ts_ping)::int8 AS report_seconds,
       (frame.pk_frame = $1 OR (frame.str_name = $5 AND job.str_name = $4)) AS is_exact
  FROM (SELECT by_key.pk_frame
          FROM frame AS by_key
         WHERE by_key.pk_frame = $1
         UNION
        SELECT by_name.pk_frame
          FROM job AS pending
          JOIN frame AS by_name ON by_name.pk_job = pending.pk_job AND by_name.str_name LIKE $3
         WHERE pending.str_state = 'PENDING'
           AND pending.str_name LIKE $2) AS found
  JOIN frame ON frame.pk_frame = found.pk_frame
  JOIN layer ON layer.pk_layer = frame.pk_layer
  JOIN job ON job.pk_job = frame.pk_job
  JOIN show ON show.pk_show = job.pk_show
  LEFT JOIN proc ON proc.pk_frame = frame.pk_frame
  LEFT JOIN host ON host.pk_host = proc.pk_host
  LEFT JOIN host_stat ON host_stat.pk_host = proc.pk_host
 ORDER BY is_exact DESC, job.str_name, frame.str_name, frame.pk_frame
 LIMIT $6
