-- The procs on a host that have a frame, with their last sign of life: a report, or Cuebot moving them to
-- this frame. Silent are those that the host's report should have named long since.
-- Parameters: $1 host id, $2 seconds by which the host's report must be younger. Rows: procs, by job and
-- frame. Locks: none.
SELECT proc.pk_proc::text AS proc,
       proc.pk_show::text AS show_id,
       COALESCE(job.str_name::text, '') AS job,
       COALESCE(layer.str_name::text, '') AS layer,
       frame.str_name::text AS frame,
       frame.str_state::text AS frame_state,
       proc.int_cores_reserved::int8 AS int_cores,
       proc.int_mem_reserved::int8 AS int_mem,
       proc.int_gpus_reserved::int8 AS int_gpus,
       proc.int_gpu_mem_reserved::int8 AS int_gpu_mem,
       GREATEST(extract(epoch FROM current_timestamp - GREATEST(proc.ts_ping, proc.ts_dispatched)), 0)::int8
           AS silent_seconds,
       COALESCE(NOT proc.b_local
           AND host_stat.ts_ping > GREATEST(proc.ts_ping, proc.ts_dispatched) + make_interval(secs => $2::float8),
           false) AS is_silent
  FROM proc
  JOIN frame ON frame.pk_frame = proc.pk_frame
  LEFT JOIN host_stat ON host_stat.pk_host = proc.pk_host
  LEFT JOIN layer ON layer.pk_layer = proc.pk_layer
  LEFT JOIN job ON job.pk_job = proc.pk_job
 WHERE proc.pk_host = $1
 ORDER BY job.str_name, layer.str_name, frame.str_name, proc.pk_proc
