-- $1 keys, $2 names, $3 whether active.
INSERT INTO show (pk_show, str_name, b_active) SELECT * FROM unnest($1::text[], $2::text[], $3::bool[])
