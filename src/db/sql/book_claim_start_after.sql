-- Takes the frames of a chunk that may start now: state WAITING, version as read, no proc, a job that
-- is PENDING, not paused and on automatic booking. A frame that somebody else holds is left out, as
-- Cuebot skips frames that we hold: neither ever waits for the other.
-- For schemas with a start-after time on layers.
-- $1 frames, $2 their versions, $3 their layers, each once. One row per frame taken, with the
-- transaction's id, by which the outcome of a COMMIT can be asked for when its answer is lost.
-- Locks: the returned frame rows, without waiting.
-- Layers, jobs and procs are read once into arrays: joined, the planner expects one frame to pass and
-- may scan these tables again for each.
SELECT f.pk_frame, txid_current() AS transaction
FROM unnest($1::text[], $2::int4[]) AS wanted (frame, version)
JOIN frame f ON f.pk_frame = wanted.frame
WHERE f.str_state = 'WAITING'
    AND f.int_version = wanted.version
    AND f.pk_layer = ANY (ARRAY(
        SELECT l.pk_layer
        FROM layer l
        JOIN job j ON j.pk_job = l.pk_job
        WHERE l.pk_layer = ANY ($3::text[])
            AND (l.ts_start_after IS NULL OR l.ts_start_after <= current_timestamp)
            AND j.str_state = 'PENDING'
            AND NOT j.b_paused
            AND j.b_auto_book))
    AND f.pk_frame <> ALL (ARRAY(SELECT p.pk_frame FROM proc p WHERE p.pk_frame = ANY ($1::text[])))
FOR NO KEY UPDATE OF f SKIP LOCKED
