-- $1 facility, $2 keys, $3 names with the facility's before the dot, $4 tags, perhaps NULL.
INSERT INTO alloc (pk_alloc, pk_facility, str_name, str_tag)
SELECT alloc.key, $1, alloc.name, alloc.tag FROM unnest($2::text[], $3::text[], $4::text[]) AS alloc (key, name, tag)
