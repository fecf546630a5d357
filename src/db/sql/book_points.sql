-- Adds a batch's cores and GPUs to the points (department in a show) of its jobs as they are now;
-- negative amounts give back. Points have no caps, and a show without one is no hindrance.
-- $1 jobs, $2 centicores, $3 GPUs, each the sum of its job.
-- Locks: point, ascending. The last of the order, and hot for the whole show.
WITH wanted AS MATERIALIZED (
    SELECT pt.pk_point, points.cores, points.gpus
    FROM (
        SELECT j.pk_show, j.pk_dept, sum(sums.cores)::int8 AS cores, sum(sums.gpus)::int8 AS gpus
        FROM unnest($1::text[], $2::int8[], $3::int8[]) AS sums (job, cores, gpus)
        JOIN job j ON j.pk_job = sums.job
        GROUP BY j.pk_show, j.pk_dept
    ) AS points
    JOIN point pt ON pt.pk_show = points.pk_show AND pt.pk_dept = points.pk_dept
    ORDER BY pt.pk_point
    FOR NO KEY UPDATE OF pt
)
UPDATE point pt
SET int_cores = pt.int_cores + wanted.cores, int_gpus = pt.int_gpus + wanted.gpus
FROM wanted
WHERE pt.pk_point = wanted.pk_point
