-- What a host has, what its row says is idle and what procs of whatever show hold there.
-- Parameters: $1 host id. Rows: one. Locks: none.
SELECT host.int_cores::int8 AS int_cores,
       host.int_mem::int8 AS int_mem,
       host.int_gpus::int8 AS int_gpus,
       host.int_gpu_mem::int8 AS int_gpu_mem,
       host.int_cores_idle::int8 AS int_cores_idle,
       host.int_mem_idle::int8 AS int_mem_idle,
       host.int_gpus_idle::int8 AS int_gpus_idle,
       host.int_gpu_mem_idle::int8 AS int_gpu_mem_idle,
       COALESCE(sum(proc.int_cores_reserved), 0)::int8 AS held_cores,
       COALESCE(sum(proc.int_mem_reserved), 0)::int8 AS held_mem,
       COALESCE(sum(proc.int_gpus_reserved), 0)::int8 AS held_gpus,
       COALESCE(sum(proc.int_gpu_mem_reserved), 0)::int8 AS held_gpu_mem,
       COALESCE(bool_or(proc.b_local), false)
           OR EXISTS (SELECT 1 FROM host_local WHERE host_local.pk_host = host.pk_host) AS has_local_work
  FROM host
  LEFT JOIN proc ON proc.pk_host = host.pk_host
 WHERE host.pk_host = $1
 GROUP BY host.pk_host
