-- Second step of repairing a layer's counter: writes what its procs hold, local ones too, as Cuebot
-- counts them there and only there.
-- Must be a statement of its own after the lock, in READ COMMITTED: summing first and locking then
-- would lose a booking that commits in between.
-- $1 the row. Returns what it counts now.
-- Locks: none new.
UPDATE layer_resource lr
SET int_cores = held.cores,
    int_gpus = held.gpus
FROM (
    SELECT coalesce(sum(p.int_cores_reserved), 0) AS cores, coalesce(sum(p.int_gpus_reserved), 0) AS gpus
    FROM layer_resource own
    JOIN proc p ON p.pk_layer = own.pk_layer
    WHERE own.pk_layer_resource = $1
) AS held
WHERE lr.pk_layer_resource = $1
RETURNING lr.int_cores::int8 AS cores, lr.int_gpus::int8 AS gpus
