SELECT fr.pk_folder_resource AS id,
    format('procs hold %s centicores and %s GPUs, the caps are %s and %s', held.cores, held.gpus, fr.int_max_cores, fr.int_max_gpus) AS detail
FROM folder_resource fr
JOIN (
    SELECT j.pk_folder, sum(p.int_cores_reserved) AS cores, sum(p.int_gpus_reserved) AS gpus
    FROM proc p JOIN job j ON j.pk_job = p.pk_job
    WHERE NOT p.b_local
    GROUP BY j.pk_folder
) AS held ON held.pk_folder = fr.pk_folder
WHERE (fr.int_max_cores <> -1 AND held.cores > fr.int_max_cores)
    OR (fr.int_max_gpus <> -1 AND held.gpus > greatest(fr.int_max_gpus, 0))
