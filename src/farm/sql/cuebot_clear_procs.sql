-- Takes the frames off the procs that ran them; the reservations stay until the release.
-- $1 procs, $2 frames. One row per proc cleared.
-- Locks: proc, ascending.
WITH held AS MATERIALIZED (
    SELECT p.pk_proc
    FROM unnest($1::text[], $2::text[]) AS ended (proc, frame)
    JOIN proc p ON p.pk_proc = ended.proc AND p.pk_frame = ended.frame
    ORDER BY p.pk_proc
    FOR NO KEY UPDATE OF p
)
UPDATE proc p
SET pk_frame = NULL
FROM held
WHERE p.pk_proc = held.pk_proc
RETURNING p.pk_proc
