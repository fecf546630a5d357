-- Locks the counter rows of all jobs of a batch, after those of the layers: see book_layer_stats.
-- $1 jobs. One row per job.
-- Locks: job_stat, ascending.
SELECT pk_job FROM job_stat WHERE pk_job = ANY ($1::text[]) ORDER BY pk_job FOR NO KEY UPDATE
