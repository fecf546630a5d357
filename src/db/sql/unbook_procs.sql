-- Deletes the procs of taken frames and returns what each held: a memory raise may have changed the
-- amounts since the booking, and what the row says is what has to be given back.
-- $1 procs, $2 their frames, NULL for a proc without one, $3 last signs of life or NULL. One row per
-- deleted proc; one that was deleted, moved to another frame or reported meanwhile is left out.
-- Locks: proc, ascending.
WITH held AS MATERIALIZED (
    SELECT p.pk_proc
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS booking (proc, frame, last_sign)
    JOIN proc p ON p.pk_proc = booking.proc AND p.pk_frame IS NOT DISTINCT FROM booking.frame
    WHERE NOT p.b_local AND (booking.last_sign IS NULL OR p.ts_ping = booking.last_sign)
    ORDER BY p.pk_proc
    FOR UPDATE OF p
)
DELETE FROM proc p
USING held
WHERE p.pk_proc = held.pk_proc
RETURNING p.pk_proc, p.pk_frame, p.pk_layer, p.pk_job, p.pk_show, p.pk_host,
    p.int_cores_reserved, p.int_mem_reserved, p.int_gpus_reserved::int8 AS int_gpus_reserved, p.int_gpu_mem_reserved
