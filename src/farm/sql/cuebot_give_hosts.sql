-- Gives hosts back what their released procs held.
-- $1 hosts, $2 centicores, $3 memory KiB, $4 GPUs, $5 GPU memory KiB, each the sum of its host.
-- One row per host with its allocation. Locks: host, ascending.
WITH held AS MATERIALIZED (
    SELECT h.pk_host, given.*
    FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::int8[])
        AS given (host, cores, memory, gpus, gpu_memory)
    JOIN host h ON h.pk_host = given.host
    ORDER BY h.pk_host
    FOR NO KEY UPDATE OF h
)
UPDATE host h
SET int_cores_idle = h.int_cores_idle + held.cores,
    int_mem_idle = h.int_mem_idle + held.memory,
    int_gpus_idle = h.int_gpus_idle + held.gpus,
    int_gpu_mem_idle = h.int_gpu_mem_idle + held.gpu_memory
FROM held
WHERE h.pk_host = held.pk_host
RETURNING h.pk_host, h.pk_alloc
