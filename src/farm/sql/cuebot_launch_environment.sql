-- The variables of a job and then those of one of its layers, which win.
-- $1 job, $2 layer. No locks.
SELECT str_key, str_value
FROM (
    SELECT 0 AS place, pk_job_env AS id, str_key, str_value FROM job_env WHERE pk_job = $1
    UNION ALL
    SELECT 1, pk_layer_env, str_key, str_value FROM layer_env WHERE pk_layer = $2
) variable
WHERE str_key IS NOT NULL AND str_value IS NOT NULL
ORDER BY place, id
