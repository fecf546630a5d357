-- Procs that run nothing and that nobody has heard of for a while: what they hold is held by nothing.
-- Between the end of a frame and its release a proc has no frame either, for a moment.
-- Parameters: $1 facility ids, $2 a host id or NULL, $3 seconds. Rows: such procs on hosts of these
-- facilities, and on this host. Locks: none.
SELECT proc.pk_proc::text AS proc,
       host.str_name::text AS host,
       proc.int_cores_reserved::int8 AS int_cores,
       proc.int_mem_reserved::int8 AS int_mem,
       proc.int_gpus_reserved::int8 AS int_gpus,
       proc.int_gpu_mem_reserved::int8 AS int_gpu_mem,
       extract(epoch FROM current_timestamp - proc.ts_ping)::int8 AS silent_seconds
  FROM proc
  JOIN host ON host.pk_host = proc.pk_host
  JOIN alloc ON alloc.pk_alloc = host.pk_alloc
 WHERE proc.pk_frame IS NULL
   AND proc.ts_ping < current_timestamp - make_interval(secs => $3::float8)
   AND (alloc.pk_facility = ANY ($1) OR host.pk_host = $2)
 ORDER BY host.str_name, proc.ts_ping, proc.pk_proc
