-- Layers that are bound to limits that are gone: nothing in the schema forbids it.
-- Parameters: $1 job ids, $2 shows whose pending jobs are looked at as well. Rows: each such pair once.
-- Locks: none.
-- Through the layers of these jobs and the index of their links.
SELECT DISTINCT
       job.str_name::text AS job_name,
       layer.str_name::text AS layer_name,
       layer.pk_layer::text AS layer,
       layer_limit.pk_limit_record::text AS "limit"
  FROM job
  JOIN layer ON layer.pk_job = job.pk_job
  JOIN layer_limit ON layer_limit.pk_layer = layer.pk_layer
 WHERE (job.pk_job = ANY ($1) OR (job.str_state = 'PENDING' AND job.pk_show = ANY ($2)))
   AND NOT EXISTS (SELECT 1
                     FROM limit_record
                    WHERE limit_record.pk_limit_record = layer_limit.pk_limit_record)
 ORDER BY job_name, layer_name, layer, "limit"
