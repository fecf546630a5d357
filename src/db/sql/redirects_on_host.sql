-- Orders that procs on one host shall go to another job or group when their frames end.
-- Parameter: $1 host id. Rows: one per order. Locks: none.
SELECT redirect.pk_proc::text AS proc,
       redirect.int_type = 1 AS is_group,
       redirect.str_name::text AS destination,
       (extract(epoch FROM now())::int8 - redirect.lng_creation_time::int8 / 1000) AS ordered_seconds,
       proc.int_cores_reserved::int8 AS int_cores,
       proc.int_mem_reserved::int8 AS int_mem,
       proc.int_gpus_reserved::int8 AS int_gpus,
       proc.int_gpu_mem_reserved::int8 AS int_gpu_mem,
       frame.str_name::text AS frame,
       job.str_name::text AS job
  FROM proc
  JOIN redirect ON redirect.pk_proc = proc.pk_proc
  LEFT JOIN frame ON frame.pk_frame = proc.pk_frame
  LEFT JOIN job ON job.pk_job = proc.pk_job
 WHERE proc.pk_host = $1 AND redirect.int_type IN (0, 1)
   AND NOT proc.b_local
 ORDER BY redirect.lng_creation_time, redirect.pk_proc
