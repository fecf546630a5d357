-- First step of repairing a job's counter: takes the row and moves both caps aside, so that the
-- second step puts them back in the statement that writes the amounts. The trigger, which refuses
-- amounts over the caps, looks only at writes that leave the caps alone.
-- Nobody moves the job meanwhile: a move that has read the counter would take along from its folder
-- what this takes off.
-- $1 the row. Returns what it counts now.
-- Locks: the job, shared, and this row, until the transaction ends; everything that books or releases
-- under it waits, so that repair_set sees all who came before and none who come after.
WITH held AS MATERIALIZED (
    SELECT j.pk_job
    FROM job_resource jr
    JOIN job j ON j.pk_job = jr.pk_job
    WHERE jr.pk_job_resource = $1
    FOR SHARE OF j
)
UPDATE job_resource jr
SET int_max_cores = jr.int_max_cores - 1, int_max_gpus = jr.int_max_gpus - 1
FROM held
WHERE jr.pk_job_resource = $1 AND jr.pk_job = held.pk_job
RETURNING jr.int_cores::int8 AS cores, jr.int_gpus::int8 AS gpus
