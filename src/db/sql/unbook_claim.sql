-- Takes the frames of bookings that are still as the booking left them: RUNNING, the version that the
-- booking wrote, and its proc still on the frame. Where a last sign of life is given, it must be the
-- proc's last one still.
-- $1 procs, $2 frames, $3 versions, $4 last signs of life or NULL. One row per booking that holds.
-- Locks: the returned frame rows, ascending. Waits for a stop in progress, after which the row no
-- longer matches.
SELECT p.pk_proc, f.pk_layer, f.pk_job
FROM unnest($1::text[], $2::text[], $3::int4[], $4::timestamptz[]) AS booking (proc, frame, version, last_sign)
JOIN frame f ON f.pk_frame = booking.frame
JOIN proc p ON p.pk_proc = booking.proc AND p.pk_frame = f.pk_frame
WHERE f.str_state = 'RUNNING'
    AND f.int_version = booking.version
    AND (booking.last_sign IS NULL OR p.ts_ping = booking.last_sign)
ORDER BY f.pk_frame
FOR NO KEY UPDATE OF f
