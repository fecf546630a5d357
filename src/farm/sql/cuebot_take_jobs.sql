-- Subtracts released procs from their jobs.
-- $1 jobs, $2 centicores, $3 GPUs, each the sum of its job. Locks: job_resource, ascending.
WITH held AS MATERIALIZED (
    SELECT jr.pk_job_resource, given.cores, given.gpus
    FROM unnest($1::text[], $2::int8[], $3::int8[]) AS given (job, cores, gpus)
    JOIN job_resource jr ON jr.pk_job = given.job
    ORDER BY jr.pk_job
    FOR NO KEY UPDATE OF jr
)
UPDATE job_resource jr
SET int_cores = jr.int_cores - held.cores, int_gpus = jr.int_gpus - held.gpus
FROM held
WHERE jr.pk_job_resource = held.pk_job_resource
