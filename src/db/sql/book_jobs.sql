-- Adds a batch's cores and GPUs to its jobs, where both sums stay within the job's caps; negative
-- amounts give back and ask no conditions. Both caps are asked whenever cores grow, because the
-- trigger does so too: a job over its GPU cap takes no cores either. 0 and -1 are caps like any
-- other number and let nothing pass.
-- $1 jobs, $2 centicores, $3 GPUs, each the sum of its job.
-- Returns the jobs written.
-- Locks: job_resource, ascending.
WITH wanted AS MATERIALIZED (
    SELECT jr.pk_job_resource, sums.cores, sums.gpus
    FROM unnest($1::text[], $2::int8[], $3::int8[]) AS sums (job, cores, gpus)
    JOIN job_resource jr ON jr.pk_job = sums.job
    ORDER BY jr.pk_job
    FOR NO KEY UPDATE OF jr
)
UPDATE job_resource jr
SET int_cores = jr.int_cores + wanted.cores, int_gpus = jr.int_gpus + wanted.gpus
FROM wanted
WHERE jr.pk_job_resource = wanted.pk_job_resource
    AND (wanted.cores < 0
        OR (jr.int_cores + wanted.cores <= jr.int_max_cores AND jr.int_gpus + wanted.gpus <= jr.int_max_gpus))
RETURNING jr.pk_job
