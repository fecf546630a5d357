-- Names of hosts that begin with $1, at most $2. Rows: these. Locks: none.
SELECT host.str_name::text AS name
  FROM host
 WHERE starts_with(host.str_name, $1)
 ORDER BY 1
 LIMIT $2
