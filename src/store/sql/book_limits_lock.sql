-- Which limits the layers of a chunk carry, and a lock on each of them until the transaction ends.
-- $1 layers. One row per layer and limit; rows read: the links of these layers.
-- Locks: transaction-scoped advisory locks, ascending by key, taken before any row lock, so chunks
-- that share a limit count and write one after the other. Cuebot takes no such lock; a limit row is
-- left unlocked so that usage reports and operators never wait for a booking.
WITH bound AS MATERIALIZED (
    SELECT DISTINCT pk_layer, pk_limit_record FROM layer_limit WHERE pk_layer = ANY ($1::text[])
),
locked AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(keys.key)
    FROM (SELECT DISTINCT hashtextextended(pk_limit_record, 5125) AS key FROM bound ORDER BY key) AS keys
)
SELECT pk_layer, pk_limit_record
FROM bound
WHERE (SELECT count(*) FROM locked) >= 0
