-- Lets a standby take writes, and waits until it does.
-- Rows: none. Locks: none.
SELECT pg_promote(true, 600)
