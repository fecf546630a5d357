-- Bookings of shows that give no sign of life although their host has reported: their completion was
-- lost, or their frame with them. Whoever launched them, and wherever Cuebot moved their proc since.
-- Running frames whose last sign lies before the end of a silence that explains it; and whatever is
-- silent for longer than Cuebot's own sweep takes, procs without a frame among it.
-- $1 shows, $2 the end of the last silence of the whole farm or NULL, $3 hosts and $4 the ends of their
-- own silences, $5 seconds after which no silence is needed, $6 at most so many, the longest silent
-- first. One row per booking; the frame's columns are NULL for a proc without one.
-- Reads the procs of these shows by index. No locks.
SELECT p.pk_proc, p.pk_frame, f.str_name, f.int_number, f.int_version, p.pk_layer, p.pk_job, p.pk_show, p.pk_host,
    h.str_name AS host_name, p.int_cores_reserved, p.int_mem_reserved, p.int_gpus_reserved::int8 AS int_gpus_reserved,
    p.int_gpu_mem_reserved, p.ts_ping AS last_sign
FROM proc p
JOIN host h ON h.pk_host = p.pk_host
JOIN host_stat hs ON hs.pk_host = p.pk_host AND hs.ts_ping > p.ts_ping
LEFT JOIN frame f ON f.pk_frame = p.pk_frame
LEFT JOIN unnest($3::text[], $4::timestamptz[]) AS silence (host, ended) ON silence.host = p.pk_host
WHERE p.pk_show = ANY ($1::text[])
    AND NOT p.b_local
    AND p.pk_layer IS NOT NULL
    AND p.pk_job IS NOT NULL
    AND (p.pk_frame IS NULL OR (f.str_state = 'RUNNING' AND f.int_version IS NOT NULL))
    AND (p.ts_ping < current_timestamp - make_interval(secs => $5::float8)
        OR (p.pk_frame IS NOT NULL
            AND p.ts_ping < GREATEST(silence.ended, $2::timestamptz)
            AND hs.ts_ping >= GREATEST(silence.ended, $2::timestamptz)))
ORDER BY p.ts_ping, p.pk_proc
LIMIT $6
