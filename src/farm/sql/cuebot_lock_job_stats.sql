-- Takes the frame counters of a batch's jobs, after those of its layers.
-- $1 jobs. Locks: job_stat, ascending.
SELECT pk_job FROM job_stat WHERE pk_job = ANY ($1::text[]) ORDER BY pk_job FOR NO KEY UPDATE
