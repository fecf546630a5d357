-- How many frames of the pending jobs of some shows have ended: it changes when completions are applied.
-- $1 shows. One row. No locks. Reads the counters of these jobs.
SELECT coalesce(sum(job_stat.int_succeeded_count + job_stat.int_dead_count + job_stat.int_eaten_count), 0)::int8 AS frames
FROM job
JOIN job_stat ON job_stat.pk_job = job.pk_job
WHERE job.pk_show = ANY ($1::text[]) AND job.str_state = 'PENDING'
