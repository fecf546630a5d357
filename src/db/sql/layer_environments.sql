-- Environment variables of some jobs, and of some of their layers (pk_layer is NULL for a job's).
-- Parameters: $1 job ids, $2 layer ids. Rows: variables. Locks: none.
-- Key and value may be NULL, and a key may occur twice: a NULL key is no variable, a NULL value is
-- empty, and of two rows the one with the higher key of its own counts, so that it is always the
-- same one.
SELECT NULL::text AS pk_layer,
       job_env.pk_job::text AS pk_job,
       job_env.str_key::text AS str_key,
       COALESCE(job_env.str_value, '')::text AS str_value,
       job_env.pk_job_env::text AS pk_row
  FROM job_env
 WHERE job_env.pk_job = ANY ($1) AND job_env.str_key IS NOT NULL
UNION ALL
SELECT layer_env.pk_layer::text,
       NULL,
       layer_env.str_key::text,
       COALESCE(layer_env.str_value, '')::text,
       layer_env.pk_layer_env::text
  FROM layer_env
 WHERE layer_env.pk_layer = ANY ($2) AND layer_env.str_key IS NOT NULL
 ORDER BY pk_row
