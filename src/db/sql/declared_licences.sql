-- Shows whose pending jobs have layers with CUE_LICENSES in their environment.
-- Parameters: $1 show ids. Rows: such shows. Locks: none.
-- A layer's variable hides the job's of the same name; an empty one declares nothing.
SELECT show.str_name::text AS show, count(*)::int8 AS layers
  FROM job
  JOIN show ON show.pk_show = job.pk_show
  JOIN layer ON layer.pk_job = job.pk_job
 WHERE job.str_state = 'PENDING'
   AND job.pk_show = ANY ($1)
   AND COALESCE(
       (SELECT bool_or(btrim(COALESCE(own.str_value, '')) <> '')
          FROM layer_env AS own
         WHERE own.pk_layer = layer.pk_layer AND own.str_key = 'CUE_LICENSES'),
       (SELECT bool_or(btrim(COALESCE(inherited.str_value, '')) <> '')
          FROM job_env AS inherited
         WHERE inherited.pk_job = layer.pk_job AND inherited.str_key = 'CUE_LICENSES'))
 GROUP BY show.str_name
 ORDER BY show.str_name
