-- How this connection is encrypted, as the server sees it, and whether it leaves the machine.
-- Rows: one. Locks: none.
SELECT coalesce(encryption.ssl, false) AS is_encrypted,
       coalesce(encryption.version, '')::text AS version,
       inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1' AS is_local
  FROM (SELECT pg_catalog.pg_backend_pid() AS pid) AS own
  LEFT JOIN pg_catalog.pg_stat_ssl AS encryption ON encryption.pid = own.pid
