-- Second step of repairing a job's counter: writes what its procs hold, and puts the caps back.
-- Must be a statement of its own after the lock, in READ COMMITTED: summing first and locking then
-- would lose a booking that commits in between.
-- $1 the row. Returns what it counts now.
-- Locks: none new.
UPDATE job_resource jr
SET int_max_cores = jr.int_max_cores + 1,
    int_max_gpus = jr.int_max_gpus + 1,
    int_cores = held.cores,
    int_gpus = held.gpus
FROM (
    SELECT coalesce(sum(p.int_cores_reserved), 0) AS cores, coalesce(sum(p.int_gpus_reserved), 0) AS gpus
    FROM job_resource own
    JOIN proc p ON p.pk_job = own.pk_job AND NOT p.b_local
    WHERE own.pk_job_resource = $1
) AS held
WHERE jr.pk_job_resource = $1
RETURNING jr.int_cores::int8 AS cores, jr.int_gpus::int8 AS gpus
