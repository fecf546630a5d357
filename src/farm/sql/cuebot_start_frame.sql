-- Starts a waiting frame, unless it is not the one any more that was read.
-- $1 frame, $2 version as read, $3 host name, $4 centicores, $5 memory KiB, $6 GPUs, $7 GPU memory KiB.
-- Locks: the frame; the triggers write layer_stat, job_stat and the history.
UPDATE frame
SET str_state = 'RUNNING',
    str_host = $3,
    int_cores = $4,
    int_mem_reserved = $5,
    int_gpus = $6,
    int_gpu_mem_reserved = $7,
    ts_started = current_timestamp,
    ts_updated = current_timestamp,
    ts_stopped = NULL,
    int_version = int_version + 1,
    int_retries = int_retries + (int_exit_status NOT IN (-1, 256, 286, 299, 301, 302, 399))::int
WHERE pk_frame = $1 AND str_state = 'WAITING' AND int_version = $2
