-- Takes hosts that boot. What they hold is counted afterwards, in a statement that sees all bookings
-- which wrote their host row before.
-- $1 hosts. Locks: host, ascending.
SELECT pk_host FROM host WHERE pk_host = ANY ($1::text[]) ORDER BY pk_host FOR NO KEY UPDATE
