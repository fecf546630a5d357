-- The proc of a frame that this transaction has started.
-- $1 proc, $2 host, $3 show, $4 layer, $5 job, $6 frame, $7 centicores, $8 memory KiB, $9 GPUs,
-- $10 GPU memory KiB. Locks: the new row.
INSERT INTO proc (
    pk_proc, pk_host, pk_show, pk_layer, pk_job, pk_frame, int_cores_reserved, int_mem_reserved,
    int_mem_pre_reserved, int_mem_used, int_gpus_reserved, int_gpu_mem_reserved, int_gpu_mem_pre_reserved,
    int_gpu_mem_used, b_local)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 262144, $9, $10, $10, 0, false)
