-- $1 keys, $2 layers, $3 limits.
INSERT INTO layer_limit (pk_layer_limit, pk_layer, pk_limit_record)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
