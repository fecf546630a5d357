-- Hosts by id, by exact name, or by the beginning of their name.
-- Parameters: $1 the text, $2 the text as a LIKE pattern of names that begin with it, $3 most rows.
-- Rows: hosts, the best match first. Locks: none.
-- A scan of host at worst, which is a small table.
SELECT host.pk_host::text AS id,
       host.str_name::text AS name,
       (host.pk_host = $1 OR host.str_name = $1) AS is_exact
  FROM host
 WHERE host.pk_host = $1
    OR host.str_name LIKE $2
 ORDER BY is_exact DESC, host.str_name, host.pk_host
 LIMIT $3
