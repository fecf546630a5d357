-- Tags of a new host.
-- $1 host, $2 keys of the rows, $3 tags, $4 their types, $5 whether they are constant.
INSERT INTO host_tag (pk_host_tag, pk_host, str_tag, str_tag_type, b_constant)
SELECT key, $1, tag, type, is_constant
FROM unnest($2::text[], $3::text[], $4::text[], $5::bool[]) AS tags (key, tag, type, is_constant)
