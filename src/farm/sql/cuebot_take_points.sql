-- Subtracts released procs from the departments of their jobs' shows.
-- $1 jobs, $2 centicores, $3 GPUs, each the sum of its job. Locks: point, ascending.
WITH given AS MATERIALIZED (
    SELECT j.pk_show, j.pk_dept, sum(jobs.cores)::int8 AS cores, sum(jobs.gpus)::int8 AS gpus
    FROM unnest($1::text[], $2::int8[], $3::int8[]) AS jobs (job, cores, gpus)
    JOIN job j ON j.pk_job = jobs.job
    GROUP BY j.pk_show, j.pk_dept
),
held AS MATERIALIZED (
    SELECT pt.pk_point, given.cores, given.gpus
    FROM given
    JOIN point pt ON pt.pk_show = given.pk_show AND pt.pk_dept = given.pk_dept
    ORDER BY pt.pk_point
    FOR NO KEY UPDATE OF pt
)
UPDATE point pt
SET int_cores = pt.int_cores - held.cores, int_gpus = pt.int_gpus - held.gpus
FROM held
WHERE pt.pk_point = held.pk_point
