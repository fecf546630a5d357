-- Local procs count in columns of their own.
SELECT jr.pk_job_resource AS id,
    format('cores %s, GPUs %s, local %s, %s; its procs hold %s, %s, local %s, %s',
        jr.int_cores, jr.int_gpus, jr.int_local_cores, jr.int_local_gpus,
        coalesce(held.cores, 0), coalesce(held.gpus, 0), coalesce(held.local_cores, 0), coalesce(held.local_gpus, 0)) AS detail
FROM job_resource jr
LEFT JOIN (
    SELECT p.pk_job,
        coalesce(sum(p.int_cores_reserved) FILTER (WHERE NOT p.b_local), 0) AS cores,
        coalesce(sum(p.int_gpus_reserved) FILTER (WHERE NOT p.b_local), 0) AS gpus,
        coalesce(sum(p.int_cores_reserved) FILTER (WHERE p.b_local), 0) AS local_cores,
        coalesce(sum(p.int_gpus_reserved) FILTER (WHERE p.b_local), 0) AS local_gpus
    FROM proc p
    GROUP BY p.pk_job
) AS held ON held.pk_job = jr.pk_job
WHERE (jr.int_cores, jr.int_gpus, jr.int_local_cores, jr.int_local_gpus) IS DISTINCT FROM
    (coalesce(held.cores, 0), coalesce(held.gpus, 0), coalesce(held.local_cores, 0), coalesce(held.local_gpus, 0))
