-- Takes the frames of a batch of ended runs.
-- $1 frames. One row per frame that exists.
-- Locks: frame, ascending. A booking or an unbooking of the same frame is waited for.
SELECT f.pk_frame, f.pk_layer, f.pk_job, f.str_state, f.int_version, f.int_retries::int8 AS int_retries,
    j.int_max_retries::int8 AS int_max_retries, j.b_autoeat
FROM frame f
JOIN job j ON j.pk_job = f.pk_job
WHERE f.pk_frame = ANY ($1::text[])
ORDER BY f.pk_frame
FOR NO KEY UPDATE OF f
