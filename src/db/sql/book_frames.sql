-- Starts frames that this transaction holds. A run counts as a retry when the one before it ended
-- with a status of its own fault: not with "never ran", failed launch, skip retry, cleared, orphan,
-- failed kill, host down, nor with a status that a limit claims (a column that older schemas lack,
-- hence read through JSON), nor with one that the site has a delay rule for.
-- $1 frames, $2 host names, $3 centicores, $4 memory KiB, $5 GPUs, $6 GPU memory KiB, $7 exit statuses with
-- a delay rule.
-- One row per frame with its new version.
-- Locks: none new; the triggers write layer_stat and job_stat, both held already, and the history.
UPDATE frame f
SET str_state = 'RUNNING',
    str_host = start.host_name,
    int_cores = start.cores,
    int_mem_reserved = start.memory,
    int_gpus = start.gpus,
    int_gpu_mem_reserved = start.gpu_memory,
    ts_started = current_timestamp,
    ts_updated = current_timestamp,
    ts_stopped = NULL,
    int_version = f.int_version + 1,
    int_retries = f.int_retries + CASE
        WHEN f.int_exit_status IN (-1, 256, 286, 299, 301, 302, 399) THEN 0
        WHEN f.int_exit_status = ANY ($7::int8[]) THEN 0
        WHEN f.int_exit_status = ANY (ARRAY(
            SELECT (to_jsonb(lr) ->> 'int_exit_status')::int8 FROM limit_record lr)) THEN 0
        ELSE 1 END
FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::int8[], $6::int8[])
    AS start (frame, host_name, cores, memory, gpus, gpu_memory)
WHERE f.pk_frame = start.frame
RETURNING f.pk_frame, f.int_version
