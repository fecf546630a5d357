SELECT h.pk_host AS id,
    format('%s: idle cores %s, memory %s, GPUs %s, GPU memory %s; total less procs is %s, %s, %s, %s', h.str_name,
        h.int_cores_idle, h.int_mem_idle, h.int_gpus_idle, h.int_gpu_mem_idle,
        h.int_cores - held.cores, h.int_mem - held.memory, h.int_gpus - held.gpus, h.int_gpu_mem - held.gpu_memory) AS detail
FROM host h
CROSS JOIN LATERAL (
    SELECT coalesce(sum(p.int_cores_reserved), 0) AS cores, coalesce(sum(p.int_mem_reserved), 0) AS memory,
        coalesce(sum(p.int_gpus_reserved), 0) AS gpus, coalesce(sum(p.int_gpu_mem_reserved), 0) AS gpu_memory
    FROM proc p
    WHERE p.pk_host = h.pk_host
) AS held
WHERE (h.int_cores_idle, h.int_mem_idle, h.int_gpus_idle, h.int_gpu_mem_idle)
    IS DISTINCT FROM (h.int_cores - held.cores, h.int_mem - held.memory, h.int_gpus - held.gpus, h.int_gpu_mem - held.gpu_memory)
