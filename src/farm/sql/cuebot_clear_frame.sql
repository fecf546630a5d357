-- Puts a frame back that has no proc and was not touched since: one whose launch failed, or whose booking
-- a trigger refused.
-- $1 frame, $2 its version. Locks: the frame; the triggers write layer_stat, job_stat and the history.
UPDATE frame f
SET str_state = 'WAITING',
    int_exit_status = 299,
    ts_stopped = current_timestamp,
    ts_updated = current_timestamp,
    int_version = f.int_version + 1
WHERE f.pk_frame = $1
    AND f.int_version = $2
    AND f.str_state IN ('RUNNING', 'WAITING')
    AND NOT EXISTS (SELECT FROM proc p WHERE p.pk_frame = f.pk_frame)
