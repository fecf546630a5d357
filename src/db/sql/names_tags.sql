-- Tags on hosts that begin with $1, at most $2, each once. Rows: these. Locks: none.
SELECT DISTINCT host_tag.str_tag::text AS name
  FROM host_tag
 WHERE starts_with(host_tag.str_tag, $1)
 ORDER BY 1
 LIMIT $2
