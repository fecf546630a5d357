-- Stops runs: state, exit status, times, memory, version and the time spent.
-- $1 frames, $2 versions as read (NULL as NULL), $3 new states, $4 exit statuses, $5 highest memory KiB.
-- One row per frame stopped, in the state that the triggers made of it.
-- Locks: none new; the triggers write layer_stat, job_stat and the history.
UPDATE frame f
SET str_state = stop.state,
    int_exit_status = stop.exit_status,
    ts_stopped = current_timestamp + interval '1 second',
    ts_updated = current_timestamp,
    int_mem_max_used = greatest(f.int_mem_max_used, stop.memory),
    int_version = f.int_version + 1,
    int_total_past_core_time = f.int_total_past_core_time
        + round(coalesce(extract(epoch FROM current_timestamp - f.ts_started), 0) * f.int_cores / 100)::int4,
    int_total_past_gpu_time = f.int_total_past_gpu_time
        + round(coalesce(extract(epoch FROM current_timestamp - f.ts_started), 0) * f.int_gpus)::int4
FROM unnest($1::text[], $2::int4[], $3::text[], $4::int8[], $5::int8[])
    AS stop (frame, version, state, exit_status, memory)
WHERE f.pk_frame = stop.frame AND f.str_state = 'RUNNING' AND f.int_version IS NOT DISTINCT FROM stop.version
RETURNING f.pk_frame, f.pk_layer, f.pk_job, f.str_state, f.int_cores::int8 AS int_cores,
    f.int_gpus::int8 AS int_gpus, stop.memory,
    round(coalesce(extract(epoch FROM current_timestamp - f.ts_started), 0))::int8 AS seconds
