-- Subtracts released procs from the subscriptions of their shows to their hosts' allocations.
-- $1 shows, $2 allocations, $3 centicores, $4 GPUs, each the sum of its pair.
-- Locks: subscription, ascending.
WITH held AS MATERIALIZED (
    SELECT s.pk_subscription, given.cores, given.gpus
    FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[]) AS given (show, alloc, cores, gpus)
    JOIN subscription s ON s.pk_show = given.show AND s.pk_alloc = given.alloc
    ORDER BY s.pk_subscription
    FOR NO KEY UPDATE OF s
)
UPDATE subscription s
SET int_cores = s.int_cores - held.cores, int_gpus = s.int_gpus - held.gpus
FROM held
WHERE s.pk_subscription = held.pk_subscription
