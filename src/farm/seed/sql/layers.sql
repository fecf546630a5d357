-- Layers; a trigger makes their companions.
-- $1 keys, $2 jobs, $3 names, $4 commands, $5 ranges, $6 chunk sizes, $7 dispatch orders, $8 least and
-- $9 most centicores, $10 memory KiB, $11 GPUs, $12 GPU memory KiB, $13 tags, $14 threadable,
-- $15 services.
INSERT INTO layer (
    pk_layer, pk_job, str_name, str_cmd, str_range, int_chunk_size, int_dispatch_order, int_cores_min, int_cores_max,
    int_mem_min, int_gpus_min, int_gpu_mem_min, str_tags, b_threadable, str_services, str_type)
SELECT layer.*, 'RENDER'
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int8[], $7::int8[], $8::int8[],
        $9::int4[], $10::int8[], $11::int8[], $12::int8[], $13::text[], $14::bool[], $15::text[]) AS layer
