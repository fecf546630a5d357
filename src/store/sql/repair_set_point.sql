-- Second step of repairing a point's counter: writes what the procs of the show's jobs in the
-- department hold.
-- Must be a statement of its own after the lock, in READ COMMITTED: summing first and locking then
-- would lose a booking that commits in between.
-- $1 the row. Returns what it counts now.
-- Locks: none new.
UPDATE point pt
SET int_cores = held.cores,
    int_gpus = held.gpus
FROM (
    SELECT coalesce(sum(p.int_cores_reserved), 0) AS cores, coalesce(sum(p.int_gpus_reserved), 0) AS gpus
    FROM point own
    JOIN job j ON j.pk_show = own.pk_show AND j.pk_dept = own.pk_dept
    JOIN proc p ON p.pk_job = j.pk_job AND NOT p.b_local
    WHERE own.pk_point = $1
) AS held
WHERE pt.pk_point = $1
RETURNING pt.int_cores::int8 AS cores, pt.int_gpus::int8 AS gpus
