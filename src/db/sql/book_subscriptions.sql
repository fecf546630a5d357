-- Adds a batch's cores and GPUs to the subscriptions of its shows on its allocations, where the sum
-- stays within the burst; negative amounts give back and ask no conditions.
-- $1 shows, $2 allocations, $3 centicores, $4 GPUs, each the sum of its pair.
-- Returns the pairs written.
-- Locks: subscription, ascending. Hot for the whole show, hence as late as the order allows.
WITH wanted AS MATERIALIZED (
    SELECT s.pk_subscription, sums.cores, sums.gpus
    FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[]) AS sums (show, alloc, cores, gpus)
    JOIN subscription s ON s.pk_show = sums.show AND s.pk_alloc = sums.alloc
    ORDER BY s.pk_subscription
    FOR NO KEY UPDATE OF s
)
UPDATE subscription s
SET int_cores = s.int_cores + wanted.cores, int_gpus = s.int_gpus + wanted.gpus
FROM wanted
WHERE s.pk_subscription = wanted.pk_subscription
    AND (wanted.cores < 0 OR s.int_cores + wanted.cores <= s.int_burst)
RETURNING s.pk_show, s.pk_alloc
