-- Puts frames that this transaction holds, and whose procs it has deleted, back to waiting. Neither exit
-- status that is written counts as a retry: "cleared" (299), which makes the trigger delete the open
-- history row, and "orphan" (301), which closes it.
-- $1 frames, $2 exit status.
-- Locks: none new; the triggers write layer_stat and job_stat, both held already, and the history.
UPDATE frame
SET str_state = 'WAITING',
    int_exit_status = $2,
    ts_stopped = current_timestamp,
    ts_updated = current_timestamp,
    int_version = int_version + 1
WHERE pk_frame = ANY ($1::text[])
