SELECT jr.pk_job_resource AS id,
    format('procs hold %s centicores and %s GPUs, the caps are %s and %s', held.cores, held.gpus, jr.int_max_cores, jr.int_max_gpus) AS detail
FROM job_resource jr
JOIN (
    SELECT p.pk_job, sum(p.int_cores_reserved) AS cores, sum(p.int_gpus_reserved) AS gpus
    FROM proc p
    WHERE NOT p.b_local
    GROUP BY p.pk_job
) AS held ON held.pk_job = jr.pk_job
WHERE held.cores > jr.int_max_cores OR held.gpus > jr.int_max_gpus
