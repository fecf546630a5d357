-- Deletes procs that run nothing any more and returns what they held, which may have changed since
-- they were booked.
-- $1 procs. One row per proc deleted.
-- Locks: proc, ascending.
WITH held AS MATERIALIZED (
    SELECT pk_proc
    FROM proc
    WHERE pk_proc = ANY ($1::text[]) AND pk_frame IS NULL AND NOT b_local
    ORDER BY pk_proc
    FOR UPDATE
)
DELETE FROM proc p
USING held
WHERE p.pk_proc = held.pk_proc
RETURNING p.pk_proc, p.pk_host, p.pk_show, p.pk_layer, p.pk_job, p.int_cores_reserved::int8 AS cores,
    p.int_mem_reserved::int8 AS memory, p.int_gpus_reserved::int8 AS gpus,
    p.int_gpu_mem_reserved::int8 AS gpu_memory
