-- $1 keys, $2 names.
INSERT INTO dept (pk_dept, str_name) SELECT * FROM unnest($1::text[], $2::text[])
