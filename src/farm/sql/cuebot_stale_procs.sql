-- Procs that no host has reported for too long: their frame is lost, or their release was.
-- $1 seconds, $2 at most so many, oldest first. No locks.
SELECT p.pk_proc, p.pk_frame, h.str_name AS host_name, hs.str_state = 'UP' AS is_host_up,
    extract(epoch FROM current_timestamp - p.ts_ping)::float8 AS silent_seconds,
    hs.ts_booted > p.ts_dispatched AS is_rebooted
FROM proc p
JOIN host h ON h.pk_host = p.pk_host
JOIN host_stat hs ON hs.pk_host = p.pk_host
WHERE p.ts_ping < current_timestamp - make_interval(secs => $1::float8) AND NOT p.b_local
ORDER BY p.ts_ping, p.pk_proc
LIMIT $2
