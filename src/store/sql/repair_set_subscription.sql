-- Second step of repairing a subscription's counter: writes what the procs of the show on hosts of
-- the allocation hold, and puts the burst back.
-- Must be a statement of its own after the lock, in READ COMMITTED: summing first and locking then
-- would lose a booking that commits in between.
-- $1 the row. Returns what it counts now.
-- Locks: none new.
UPDATE subscription s
SET int_burst = s.int_burst + 1,
    int_cores = held.cores,
    int_gpus = held.gpus
FROM (
    SELECT coalesce(sum(p.int_cores_reserved), 0) AS cores, coalesce(sum(p.int_gpus_reserved), 0) AS gpus
    FROM subscription own
    JOIN host h ON h.pk_alloc = own.pk_alloc
    JOIN proc p ON p.pk_host = h.pk_host AND p.pk_show = own.pk_show AND NOT p.b_local
    WHERE own.pk_subscription = $1
) AS held
WHERE s.pk_subscription = $1
RETURNING s.int_cores::int8 AS cores, s.int_gpus::int8 AS gpus
