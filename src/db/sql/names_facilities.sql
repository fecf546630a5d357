-- Names of facilities that begin with $1, at most $2, each once. Rows: these. Locks: none.
SELECT DISTINCT facility.str_name::text AS name
  FROM facility
 WHERE starts_with(facility.str_name, $1)
 ORDER BY 1
 LIMIT $2
