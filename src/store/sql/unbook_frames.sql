-- Puts frames that this transaction holds, and whose procs it has deleted, back to waiting. The exit
-- status "cleared" makes the trigger delete the open history row, and does not count as a retry.
-- $1 frames.
-- Locks: none new; the triggers write layer_stat and job_stat, both held already, and the history.
UPDATE frame
SET str_state = 'WAITING',
    int_exit_status = 299,
    ts_stopped = current_timestamp,
    ts_updated = current_timestamp,
    int_version = int_version + 1
WHERE pk_frame = ANY ($1::text[])
