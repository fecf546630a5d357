-- Priority and caps of the rows that the jobs' trigger made.
-- $1 jobs, $2 priorities, $3 centicores, $4 GPUs.
UPDATE job_resource jr
SET int_priority = caps.priority, int_max_cores = caps.cores, int_max_gpus = caps.gpus
FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int8[]) AS caps (job, priority, cores, gpus)
WHERE jr.pk_job = caps.job
