-- The server's clock, in seconds since 1970.
-- Rows: one. Locks: none.
SELECT extract(epoch FROM clock_timestamp())::float8 AS now
