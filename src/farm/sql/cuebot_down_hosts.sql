-- Marks hosts that have been silent for too long.
-- $1 seconds of silence. One row per host marked. Locks: host_stat, ascending.
WITH silent AS MATERIALIZED (
    SELECT pk_host_stat
    FROM host_stat
    WHERE str_state = 'UP' AND ts_ping < current_timestamp - make_interval(secs => $1::float8)
    ORDER BY pk_host_stat
    FOR NO KEY UPDATE
)
UPDATE host_stat hs
SET str_state = 'DOWN'
FROM silent
WHERE hs.pk_host_stat = silent.pk_host_stat
RETURNING hs.pk_host
