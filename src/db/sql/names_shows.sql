-- Names of shows that begin with $1, at most $2, each once. Rows: these. Locks: none.
SELECT DISTINCT show.str_name::text AS name
  FROM show
 WHERE starts_with(show.str_name, $1)
 ORDER BY 1
 LIMIT $2
