-- $1 keys, $2 hosts, $3 tags, $4 types, upper case as Cuebot writes them. Tags that come from the
-- allocation or the name are constant, as nobody may remove them.
INSERT INTO host_tag (pk_host_tag, pk_host, str_tag, str_tag_type, b_constant)
SELECT key, host, tag, type, type IN ('ALLOC', 'HOSTNAME')
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS tag (key, host, tag, type)
