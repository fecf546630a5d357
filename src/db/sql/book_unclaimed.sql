-- Of frames that could not be taken, those that another session merely holds: the row is as it was
-- read, waits, and may start.
-- $1 frames, $2 their versions. One row per such frame. No locks.
-- ts_start_after is the layer's column where the schema has it; where not, the name finds the NULL of
-- the enclosing row.
SELECT held.pk_frame
FROM (SELECT NULL::timestamptz AS ts_start_after) AS absent
CROSS JOIN LATERAL (
    SELECT f.pk_frame
    FROM unnest($1::text[], $2::int4[]) AS wanted (frame, version)
    JOIN frame f ON f.pk_frame = wanted.frame
    JOIN layer ON layer.pk_layer = f.pk_layer
    JOIN job j ON j.pk_job = f.pk_job
    WHERE f.str_state = 'WAITING'
        AND f.int_version = wanted.version
        AND (ts_start_after IS NULL OR ts_start_after <= current_timestamp)
        AND j.str_state = 'PENDING'
        AND NOT j.b_paused
        AND j.b_auto_book
        AND NOT EXISTS (SELECT FROM proc p WHERE p.pk_frame = f.pk_frame)
) AS held
