SELECT h.pk_host AS id,
    format('%s: idle cores %s, memory %s, GPUs %s, GPU memory %s', h.str_name,
        h.int_cores_idle, h.int_mem_idle, h.int_gpus_idle, h.int_gpu_mem_idle) AS detail
FROM host h
WHERE least(h.int_cores_idle, h.int_mem_idle, h.int_gpus_idle, h.int_gpu_mem_idle) < 0
