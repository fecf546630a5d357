-- Finishes jobs in which nothing is left to do. A dead frame is something left: somebody may retry it.
-- $1 jobs. One row per job finished. Locks: job, ascending.
WITH done AS MATERIALIZED (
    SELECT j.pk_job
    FROM job j
    JOIN job_stat js ON js.pk_job = j.pk_job
    WHERE j.pk_job = ANY ($1::text[])
        AND j.str_state = 'PENDING'
        AND js.int_waiting_count + js.int_running_count + js.int_depend_count + js.int_dead_count
            + js.int_checkpoint_count = 0
    ORDER BY j.pk_job
    FOR UPDATE OF j
)
UPDATE job j
SET str_state = 'FINISHED', str_visible_name = NULL, ts_stopped = current_timestamp
FROM done
WHERE j.pk_job = done.pk_job
RETURNING j.pk_job
