-- Creates a host that boots for the first time, in the allocation of that name, or else in the first of
-- its facility, or else in the first of all.
-- $1 key, $2 name, $3 allocation name or NULL, $4 facility name, $5 lock state, $6 NIMBY, $7 sockets,
-- $8 centicores, $9 memory KiB, $10 GPUs, $11 GPU memory KiB, $12 thread mode.
-- One row with the allocation's tag; none when another report created the host meanwhile, or there is
-- no allocation at all.
INSERT INTO host (
    pk_host, pk_alloc, str_name, str_lock_state, b_nimby, int_procs, int_cores, int_cores_idle, int_mem,
    int_mem_idle, int_gpus, int_gpus_idle, int_gpu_mem, int_gpu_mem_idle, int_thread_mode)
SELECT $1, alloc.pk_alloc, $2, $5, $6, $7, $8, $8, $9, $9, $10, $10, $11, $11, $12
FROM (
    SELECT a.pk_alloc
    FROM alloc a
    JOIN facility f ON f.pk_facility = a.pk_facility
    WHERE $3::text IS NULL OR a.str_name = $3
    ORDER BY f.str_name = $4 DESC, a.str_name, a.pk_alloc
    LIMIT 1
) AS alloc
ON CONFLICT DO NOTHING
RETURNING (SELECT a.str_tag FROM alloc a WHERE a.pk_alloc = host.pk_alloc) AS alloc_tag
