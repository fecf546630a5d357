-- Second step of repairing a layer's counter: what its procs hold, local ones too, as Cuebot
-- counts them there and only there.
-- Must be a statement of its own after the lock, in READ COMMITTED: summing first and locking then
-- would lose a booking that commits in between.
-- A counter that is too low becomes what the procs hold. One that is too high is lowered by no more
-- than is allowed, nor than is left of the surplus without what procs held that are gone: whoever
-- deleted those may still be about to subtract them.
-- $1 the row. $2 centicores and $3 GPUs to lower it by at most; NULL is no bound. $4 centicores and $5
-- GPUs of procs that are known to be gone. $6 procs that were there when that was found, $7 their
-- centicores, $8 their GPUs: those of them that are gone by now are added to it.
-- Returns what the row counts now and what the procs hold. Locks: none new.
WITH counted AS MATERIALIZED (
    SELECT p.pk_proc, p.int_cores_reserved AS cores, p.int_gpus_reserved AS gpus
    FROM layer_resource own
    JOIN proc p ON p.pk_layer = own.pk_layer
    WHERE own.pk_layer_resource = $1
),
gone AS (
    SELECT coalesce(sum(seen.cores), 0)::int8 AS cores, coalesce(sum(seen.gpus), 0)::int8 AS gpus
    FROM unnest($6::text[], $7::int8[], $8::int8[]) AS seen (proc, cores, gpus)
    WHERE NOT EXISTS (SELECT FROM counted WHERE counted.pk_proc = seen.proc)
),
held AS (
    SELECT coalesce(sum(cores), 0)::int8 AS cores, coalesce(sum(gpus), 0)::int8 AS gpus FROM counted
)
UPDATE layer_resource lr
SET int_cores = greatest(
        held.cores, lr.int_cores - greatest(0, least($2::int8, lr.int_cores - held.cores - $4::int8 - gone.cores))),
    int_gpus = greatest(
        held.gpus, lr.int_gpus - greatest(0, least($3::int8, lr.int_gpus - held.gpus - $5::int8 - gone.gpus)))
FROM held, gone
WHERE lr.pk_layer_resource = $1
RETURNING lr.int_cores::int8 AS cores, lr.int_gpus::int8 AS gpus, held.cores AS held_cores, held.gpus AS held_gpus
