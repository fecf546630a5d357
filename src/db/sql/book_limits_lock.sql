-- Which limits the layers of a chunk carry, and a lock on each of them until the transaction ends.
-- $1 layers, $2 milliseconds. One row per layer and limit; rows read: the links of these layers.
-- Locks: transaction-scoped advisory locks, ascending by key, taken before any row lock, so chunks
-- that share a limit count and write one after the other. Cuebot takes no such lock; a limit row is
-- left unlocked so that usage reports and operators never wait for a booking.
-- From the next statement on the server's limit is $2: here others of ours may be waited for longer,
-- as no row of Cuebot's is held yet. Set on the way, since a statement of its own is a round trip.
WITH bound AS MATERIALIZED (
    SELECT DISTINCT pk_layer, pk_limit_record FROM layer_limit WHERE pk_layer = ANY ($1::text[])
),
locked AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(keys.key)
    FROM (SELECT DISTINCT hashtextextended(pk_limit_record, 5125) AS key FROM bound ORDER BY key) AS keys
),
told AS MATERIALIZED (
    SELECT set_config('statement_timeout', $2::text, true) AS limit_now
)
SELECT pk_layer, pk_limit_record
FROM bound
WHERE (SELECT count(*) FROM locked) >= 0 AND (SELECT count(limit_now) FROM told) > 0
