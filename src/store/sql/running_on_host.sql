-- What runs on a host, by layer. A proc without a frame runs nothing.
-- Parameters: $1 host id. Rows: layers with procs there. Locks: none.
SELECT COALESCE(job.str_name::text, '') AS job_name,
       COALESCE(layer.str_name::text, '') AS layer_name,
       count(*)::int8 AS frames,
       sum(proc.int_cores_reserved)::int8 AS int_cores,
       sum(proc.int_mem_reserved)::int8 AS int_mem,
       sum(proc.int_gpus_reserved)::int8 AS int_gpus,
       sum(proc.int_gpu_mem_reserved)::int8 AS int_gpu_mem
  FROM proc
  LEFT JOIN layer ON layer.pk_layer = proc.pk_layer
  LEFT JOIN job ON job.pk_job = proc.pk_job
 WHERE proc.pk_host = $1
   AND proc.pk_frame IS NOT NULL
 GROUP BY job.str_name, layer.str_name
 ORDER BY job.str_name, layer.str_name
