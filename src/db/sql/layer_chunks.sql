-- Layers of pending jobs whose frames render several numbers each, with the numbers of these frames.
-- Parameters: $1 job ids, $2 show ids: pending jobs of both. Rows: such layers; reads all their frames, by layer,
-- once per command. Locks: none.
SELECT job.str_name::text AS job_name,
       layer.pk_layer::text AS layer,
       layer.str_name::text AS layer_name,
       layer.str_range::text AS range,
       layer.int_chunk_size::int8 AS chunk_size,
       ARRAY (SELECT frame.int_number::int8 FROM frame WHERE frame.pk_layer = layer.pk_layer) AS frames
  FROM job
  JOIN layer ON layer.pk_job = job.pk_job
 WHERE job.str_state = 'PENDING'
   AND (job.pk_job = ANY ($1) OR job.pk_show = ANY ($2))
   AND layer.int_chunk_size > 1
 ORDER BY job.str_name, layer.str_name, layer.pk_layer
