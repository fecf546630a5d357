SELECT pt.pk_point AS id,
    format('cores %s, GPUs %s; its procs hold %s, %s', pt.int_cores, pt.int_gpus, coalesce(held.cores, 0), coalesce(held.gpus, 0)) AS detail
FROM point pt
LEFT JOIN (
    SELECT j.pk_show, j.pk_dept, sum(p.int_cores_reserved) AS cores, sum(p.int_gpus_reserved) AS gpus
    FROM proc p JOIN job j ON j.pk_job = p.pk_job
    WHERE NOT p.b_local
    GROUP BY j.pk_show, j.pk_dept
) AS held ON held.pk_show = pt.pk_show AND held.pk_dept = pt.pk_dept
WHERE pt.int_cores <> coalesce(held.cores, 0) OR pt.int_gpus <> coalesce(held.gpus, 0)
