-- $1 keys, $2 names, $3 maxima, perhaps NULL, $4 whether hosts are counted.
INSERT INTO limit_record (pk_limit_record, str_name, int_max_value, b_host_limit)
SELECT * FROM unnest($1::text[], $2::text[], $3::int4[], $4::bool[])
