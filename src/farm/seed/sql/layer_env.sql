-- $1 keys, $2 layers, $3 their jobs, $4 names and $5 values of variables.
INSERT INTO layer_env (pk_layer_env, pk_layer, pk_job, str_key, str_value)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
