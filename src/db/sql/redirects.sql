-- Orders of operators that procs shall go to another job or group when their frames end. The table is
-- all but empty, and is read many times in a second.
-- $1 procs whose orders were seen before. Rows: an order each, of procs that are there; of those seen
-- before also orders without a proc, whose other columns are NULL. Local procs draw on other rows and
-- count as none. Locks: none. Reads the whole of redirect, and proc by key.
SELECT redirect.pk_proc::text AS pk_proc,
       redirect.int_type::int8 AS int_type,
       redirect.str_destination_id::text AS destination,
       redirect.str_name::text AS destination_name,
       proc.pk_host::text AS pk_host,
       host.str_name::text AS host_name,
       proc.int_cores_reserved::int8 AS int_cores,
       proc.int_mem_reserved::int8 AS int_mem,
       proc.int_gpus_reserved::int8 AS int_gpus,
       proc.int_gpu_mem_reserved::int8 AS int_gpu_mem,
       clock_timestamp() AS seen_at
  FROM redirect
  LEFT JOIN (proc JOIN host ON host.pk_host = proc.pk_host)
    ON proc.pk_proc = redirect.pk_proc AND NOT proc.b_local
 WHERE proc.pk_proc IS NOT NULL
    OR redirect.pk_proc = ANY ($1)
