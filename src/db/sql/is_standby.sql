-- Whether the server follows another one and takes no writes.
-- Rows: one. Locks: none.
SELECT pg_catalog.pg_is_in_recovery() AS is_standby
