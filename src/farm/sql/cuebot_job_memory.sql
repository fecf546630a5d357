-- Raises the highest memory of jobs.
-- $1 jobs, $2 highest memory KiB of their ended runs. Locks: job_mem, ascending.
WITH held AS MATERIALIZED (
    SELECT m.pk_job_mem, given.memory
    FROM unnest($1::text[], $2::int8[]) AS given (job, memory)
    JOIN job_mem m ON m.pk_job = given.job AND m.int_max_rss < given.memory
    ORDER BY m.pk_job
    FOR NO KEY UPDATE OF m
)
UPDATE job_mem m
SET int_max_rss = greatest(m.int_max_rss, held.memory)
FROM held
WHERE m.pk_job_mem = held.pk_job_mem
