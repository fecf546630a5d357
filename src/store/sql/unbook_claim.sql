-- Takes the frames of bookings that are still as the booking left them: RUNNING, the version that the
-- booking wrote, and its proc still on the frame.
-- $1 procs, $2 frames, $3 versions. One row per booking that holds.
-- Locks: the returned frame rows, ascending. Waits for a stop in progress, after which the row no
-- longer matches.
SELECT p.pk_proc, f.pk_layer, f.pk_job
FROM unnest($1::text[], $2::text[], $3::int4[]) AS booking (proc, frame, version)
JOIN frame f ON f.pk_frame = booking.frame
JOIN proc p ON p.pk_proc = booking.proc AND p.pk_frame = f.pk_frame
WHERE f.str_state = 'RUNNING' AND f.int_version = booking.version
ORDER BY f.pk_frame
FOR NO KEY UPDATE OF f
