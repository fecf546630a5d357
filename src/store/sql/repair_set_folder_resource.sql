-- Second step of repairing a folder's counter: writes what the procs of its jobs hold.
-- Must be a statement of its own after the lock, in READ COMMITTED: summing first and locking then
-- would lose a booking that commits in between.
-- $1 the row. Returns what it counts now.
-- Locks: none new.
UPDATE folder_resource fr
SET int_cores = held.cores,
    int_gpus = held.gpus
FROM (
    SELECT coalesce(sum(p.int_cores_reserved), 0) AS cores, coalesce(sum(p.int_gpus_reserved), 0) AS gpus
    FROM folder_resource own
    JOIN job j ON j.pk_folder = own.pk_folder
    JOIN proc p ON p.pk_job = j.pk_job AND NOT p.b_local
    WHERE own.pk_folder_resource = $1
) AS held
WHERE fr.pk_folder_resource = $1
RETURNING fr.int_cores::int8 AS cores, fr.int_gpus::int8 AS gpus
