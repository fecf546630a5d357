-- Gives hosts that boot empty the sizes they report, all of it idle.
-- $1 hosts, $2 centicores, $3 memory KiB, $4 GPUs, $5 GPU memory KiB, $6 sockets, $7 whether having no
-- proc counts as empty beside having everything idle. Locks: none new, the hosts are held.
UPDATE host h
SET int_cores = booted.cores,
    int_cores_idle = booted.cores,
    int_mem = booted.memory,
    int_mem_idle = booted.memory,
    int_gpus = booted.gpus,
    int_gpus_idle = booted.gpus,
    int_gpu_mem = booted.gpu_memory,
    int_gpu_mem_idle = booted.gpu_memory,
    int_procs = booted.sockets
FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[])
    AS booted (host, cores, memory, gpus, gpu_memory, sockets)
WHERE h.pk_host = booted.host
    AND ((h.int_cores_idle = h.int_cores AND h.int_mem_idle = h.int_mem AND h.int_gpus_idle = h.int_gpus
            AND h.int_gpu_mem_idle = h.int_gpu_mem)
        OR ($7 AND NOT EXISTS (SELECT FROM proc p WHERE p.pk_host = h.pk_host)))
