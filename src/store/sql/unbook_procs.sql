-- Deletes the procs of taken frames and returns what each held: a memory raise may have changed the
-- amounts since the booking, and what the row says is what has to be given back.
-- $1 procs, $2 their frames. One row per deleted proc; one that was deleted or moved to another frame
-- meanwhile is left out.
-- Locks: proc, ascending.
WITH held AS MATERIALIZED (
    SELECT p.pk_proc
    FROM unnest($1::text[], $2::text[]) AS booking (proc, frame)
    JOIN proc p ON p.pk_proc = booking.proc AND p.pk_frame = booking.frame
    WHERE NOT p.b_local
    ORDER BY p.pk_proc
    FOR UPDATE OF p
)
DELETE FROM proc p
USING held
WHERE p.pk_proc = held.pk_proc
RETURNING p.pk_proc, p.pk_frame, p.pk_layer, p.pk_job, p.pk_show, p.pk_host,
    p.int_cores_reserved, p.int_mem_reserved, p.int_gpus_reserved::int8 AS int_gpus_reserved, p.int_gpu_mem_reserved
