-- Takes what a chunk reserves from its hosts, where that much is idle and the host is still open;
-- negative amounts give back and ask no conditions.
-- $1 hosts, $2 centicores, $3 memory KiB, $4 GPUs, $5 GPU memory KiB, each the sum of its host.
-- One row per host that could be locked, with its allocation now and whether it was written. A host
-- that another session holds has none: to wait for it here would hold up Cuebot's stops and releases,
-- which need the frame counters and procs that are held by now.
-- Locks: host, ascending, without waiting. The lock is taken in the inner query, as an UPDATE alone
-- has no order and waits.
WITH wanted AS MATERIALIZED (
    SELECT h.pk_host, h.pk_alloc, sums.cores, sums.memory, sums.gpus, sums.gpu_memory
    FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::int8[])
        AS sums (host, cores, memory, gpus, gpu_memory)
    JOIN host h ON h.pk_host = sums.host
    ORDER BY h.pk_host
    FOR NO KEY UPDATE OF h SKIP LOCKED
),
written AS (
    UPDATE host h
    SET int_cores_idle = h.int_cores_idle - wanted.cores,
        int_mem_idle = h.int_mem_idle - wanted.memory,
        int_gpus_idle = h.int_gpus_idle - wanted.gpus,
        int_gpu_mem_idle = h.int_gpu_mem_idle - wanted.gpu_memory
    FROM wanted
    WHERE h.pk_host = wanted.pk_host
        AND (wanted.cores < 0
            OR (h.str_lock_state = 'OPEN'
                AND h.int_cores_idle >= wanted.cores
                AND h.int_mem_idle >= wanted.memory
                AND h.int_gpus_idle >= wanted.gpus
                AND h.int_gpu_mem_idle >= wanted.gpu_memory))
    RETURNING h.pk_host
)
SELECT wanted.pk_host, wanted.pk_alloc, written.pk_host IS NOT NULL AS is_written
FROM wanted
LEFT JOIN written ON written.pk_host = wanted.pk_host
