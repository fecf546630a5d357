-- Of bookings that are about to be launched, or just were, those that no longer stand as they were
-- written: the proc on its frame, the frame RUNNING with the booking's version; or whose job may not
-- start frames any more.
-- $1 procs, $2 frames, $3 versions. One row per such booking; `is_gone` tells the first from the second,
-- `has_succeeded` whether the frame needs nobody any more.
-- No locks. Reads proc, frame and job by key.
SELECT asked.proc AS pk_proc, stands.is_startable IS NULL AS is_gone,
    EXISTS (SELECT FROM frame f WHERE f.pk_frame = asked.frame AND f.str_state = 'SUCCEEDED') AS has_succeeded
FROM unnest($1::text[], $2::text[], $3::int4[]) AS asked (proc, frame, version)
LEFT JOIN LATERAL (
    SELECT j.str_state = 'PENDING' AND NOT j.b_paused AS is_startable
    FROM proc p
    JOIN frame f ON f.pk_frame = p.pk_frame
    JOIN job j ON j.pk_job = f.pk_job
    WHERE p.pk_proc = asked.proc
        AND p.pk_frame = asked.frame
        AND f.str_state = 'RUNNING'
        AND f.int_version = asked.version
) AS stands ON true
WHERE stands.is_startable IS NOT TRUE
