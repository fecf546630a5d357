-- Hosts with nothing on them, unlocked.
-- $1 keys, $2 allocations, $3 names, $4 thread modes, $5 centicores, $6 memory KiB, $7 GPUs, $8 GPU
-- memory KiB.
INSERT INTO host (
    pk_host, pk_alloc, str_name, str_lock_state, int_thread_mode, int_cores, int_cores_idle,
    int_mem, int_mem_idle, int_gpus, int_gpus_idle, int_gpu_mem, int_gpu_mem_idle)
SELECT key, alloc, name, 'OPEN', mode, cores, cores, memory, memory, gpus, gpus, gpu_memory, gpu_memory
FROM unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::int8[], $6::int8[], $7::int8[], $8::int8[])
    AS host (key, alloc, name, mode, cores, memory, gpus, gpu_memory)
