-- Which hosts of a chunk another session holds right now, asked before the chunk begins, so that none
-- of its other rows is held in vain.
-- $1 hosts. One row per host that is held.
-- Locks: the other hosts, without waiting, given back at once as this is a transaction of its own.
WITH free AS MATERIALIZED (
    SELECT h.pk_host FROM host h WHERE h.pk_host = ANY ($1::text[]) FOR NO KEY UPDATE OF h SKIP LOCKED
)
SELECT h.pk_host
FROM host h
WHERE h.pk_host = ANY ($1::text[]) AND h.pk_host <> ALL (ARRAY(SELECT free.pk_host FROM free))
