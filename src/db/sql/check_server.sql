-- What server this is and whether it takes writes.
-- Rows: one. Locks: none.
SELECT current_setting('server_version')::text AS version,
       current_setting('server_version_num')::int4 AS number,
       pg_catalog.pg_is_in_recovery() AS is_standby,
       current_setting('default_transaction_read_only')::bool AS is_read_only
