-- Writes the procs of started frames. What is reserved here is what every later release gives back.
-- $1 procs, $2 frames, $3 layers, $4 jobs, $5 shows, $6 hosts, $7 centicores, $8 memory KiB, $9 GPUs,
-- $10 GPU memory KiB. Returns the frames that got their proc; one that has a proc already is left
-- out, and the caller starts over without it.
-- Locks: the new rows.
INSERT INTO proc (
    pk_proc, pk_frame, pk_layer, pk_job, pk_show, pk_host, int_cores_reserved,
    int_mem_reserved, int_mem_pre_reserved, int_mem_used, int_gpus_reserved,
    int_gpu_mem_reserved, int_gpu_mem_pre_reserved, int_gpu_mem_used, b_local)
SELECT proc, frame, layer, job, show, host, cores, memory, memory, 262144, gpus, gpu_memory, gpu_memory, 0, false
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
        $7::int8[], $8::int8[], $9::int8[], $10::int8[])
    AS booking (proc, frame, layer, job, show, host, cores, memory, gpus, gpu_memory)
ON CONFLICT DO NOTHING
RETURNING pk_frame
