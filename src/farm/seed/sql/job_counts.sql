-- Frame counts of jobs, which inserting frames does not change.
-- $1 jobs, $2 waiting frames.
UPDATE job_stat js
SET int_waiting_count = counted.frames
FROM unnest($1::text[], $2::int8[]) AS counted (job, frames)
WHERE js.pk_job = counted.job
