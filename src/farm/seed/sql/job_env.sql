-- $1 keys, $2 jobs, $3 names and $4 values of variables.
INSERT INTO job_env (pk_job_env, pk_job, str_key, str_value)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
