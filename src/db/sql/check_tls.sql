-- How the server says that this connection is encrypted; empty where it is not, or not to the server.
-- Rows: one. Locks: none.
SELECT coalesce(encryption.version, '')::text AS version
  FROM (SELECT pg_catalog.pg_backend_pid() AS pid) AS own
  LEFT JOIN pg_catalog.pg_stat_ssl AS encryption ON encryption.pid = own.pid
