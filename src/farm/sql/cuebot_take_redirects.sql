-- Takes away the orders of procs that are about to go, as Cuebot does before anything else.
-- $1 procs. One row per order, with the host. Locks: the orders, deleted.
DELETE FROM redirect r
USING proc p
WHERE p.pk_proc = r.pk_proc AND r.pk_proc = ANY ($1::text[])
RETURNING r.pk_proc, p.pk_host, r.int_type::int8 AS int_type, r.str_destination_id
