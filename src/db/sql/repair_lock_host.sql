-- First step of repairing a host's idle amounts.
-- $1 the host. Returns what its row says is taken.
-- Locks: this row, until the transaction ends; everything that books or releases on the host waits, so
-- that repair_set sees all who came before and none who come after.
SELECT (int_cores - int_cores_idle)::int8 AS cores, (int_mem - int_mem_idle)::int8 AS memory,
    (int_gpus - int_gpus_idle)::int8 AS gpus, (int_gpu_mem - int_gpu_mem_idle)::int8 AS gpu_memory
FROM host
WHERE pk_host = $1
FOR NO KEY UPDATE
