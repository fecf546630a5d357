-- The server process behind this session. Sent as plain text, so that no proxy has to keep a statement.
-- Rows: one. Locks: none.
SELECT pg_catalog.pg_backend_pid() AS pid
