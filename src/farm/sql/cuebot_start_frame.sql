-- Starts a frame that this transaction holds on a proc that is there already.
-- $1 frame, $2 proc. One row with the version written; none when the proc is gone or taken.
-- Locks: none new; the triggers write layer_stat and job_stat, both held, and the history.
UPDATE frame f
SET str_state = 'RUNNING',
    str_host = h.str_name,
    int_cores = p.int_cores_reserved,
    int_mem_reserved = p.int_mem_reserved,
    int_gpus = p.int_gpus_reserved,
    int_gpu_mem_reserved = p.int_gpu_mem_reserved,
    ts_started = current_timestamp,
    ts_updated = current_timestamp,
    ts_stopped = NULL,
    int_version = f.int_version + 1,
    int_retries = f.int_retries + (f.int_exit_status NOT IN (-1, 256, 286, 299, 301, 302, 399))::int
FROM proc p
JOIN host h ON h.pk_host = p.pk_host
WHERE f.pk_frame = $1 AND p.pk_proc = $2 AND p.pk_frame IS NULL
RETURNING f.int_version
