-- Bookings of shows that no agent has reported yet: what a scheduler that died left between commit
-- and launch, mixed with what others are launching right now, hence the age.
-- With $3 only where Cuebot has heard of the host since: as long as reports do not arrive, a booking
-- that is not reported may well run, or have ended with its own report on the way.
-- Procs that Cuebot moved to another frame were launched by Cuebot and are left out: their second
-- dispatch lies after their booking.
-- $1 shows, $2 least age in seconds, $3 whether hosts must have reported. One row per booking, oldest first.
-- Reads the procs of these shows by index. No locks.
SELECT p.pk_proc, p.pk_frame, f.str_name, f.int_number, f.int_version, p.pk_layer, p.pk_job, p.pk_show, p.pk_host,
    h.str_name AS host_name, p.int_cores_reserved, p.int_mem_reserved, p.int_gpus_reserved::int8 AS int_gpus_reserved,
    p.int_gpu_mem_reserved
FROM proc p
JOIN frame f ON f.pk_frame = p.pk_frame
JOIN host h ON h.pk_host = p.pk_host
JOIN host_stat hs ON hs.pk_host = p.pk_host AND (hs.ts_ping > p.ts_dispatched OR NOT $3::bool)
WHERE p.pk_show = ANY ($1::text[])
    AND NOT p.b_local
    AND p.ts_ping <= p.ts_dispatched
    AND p.ts_booked >= p.ts_dispatched
    AND p.ts_dispatched <= current_timestamp - make_interval(secs => $2::float8)
    AND f.str_state = 'RUNNING'
    AND f.int_version IS NOT NULL
    AND p.pk_layer IS NOT NULL
    AND p.pk_job IS NOT NULL
ORDER BY p.ts_dispatched, p.pk_proc
