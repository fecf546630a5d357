-- Notes that procs were seen alive: those that still run the frame they are reported with, of a job that
-- still is to run.
-- $1 procs, $2 frames, $3 memory and $4 highest memory KiB. One row per proc that holds.
-- Locks: proc, ascending.
WITH held AS MATERIALIZED (
    SELECT p.pk_proc, reported.memory, reported.memory_max
    FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[]) AS reported (proc, frame, memory, memory_max)
    JOIN proc p ON p.pk_proc = reported.proc AND p.pk_frame = reported.frame
    JOIN job j ON j.pk_job = p.pk_job AND j.str_state = 'PENDING'
    ORDER BY p.pk_proc
    FOR NO KEY UPDATE OF p
)
UPDATE proc p
SET ts_ping = current_timestamp,
    int_mem_used = held.memory,
    int_mem_max_used = greatest(p.int_mem_max_used, held.memory_max)
FROM held
WHERE p.pk_proc = held.pk_proc
RETURNING p.pk_proc
