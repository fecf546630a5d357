-- GPU work that runs on some allocations, of whatever show, by what its layers ask for.
-- Parameters: $1 allocation ids. Rows: one per allocation and ask, with the present moment. Locks: none.
SELECT DISTINCT host.pk_alloc::text AS pk_alloc,
       layer.int_cores_min::int8 AS int_cores_min,
       layer.int_mem_min::int8 AS int_mem_min,
       layer.int_gpus_min::int8 AS int_gpus_min,
       layer.int_gpu_mem_min::int8 AS int_gpu_mem_min,
       now() AS last_seen
  FROM proc
  JOIN host ON host.pk_host = proc.pk_host
  JOIN layer ON layer.pk_layer = proc.pk_layer
 WHERE host.pk_alloc = ANY ($1)
   AND (proc.int_gpus_reserved > 0 OR proc.int_gpu_mem_reserved > 0)
