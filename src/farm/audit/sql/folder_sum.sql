SELECT fr.pk_folder_resource AS id,
    format('cores %s, GPUs %s; its procs hold %s, %s', fr.int_cores, fr.int_gpus, coalesce(held.cores, 0), coalesce(held.gpus, 0)) AS detail
FROM folder_resource fr
LEFT JOIN (
    SELECT j.pk_folder, sum(p.int_cores_reserved) AS cores, sum(p.int_gpus_reserved) AS gpus
    FROM proc p JOIN job j ON j.pk_job = p.pk_job
    WHERE NOT p.b_local
    GROUP BY j.pk_folder
) AS held ON held.pk_folder = fr.pk_folder
WHERE fr.int_cores <> coalesce(held.cores, 0) OR fr.int_gpus <> coalesce(held.gpus, 0)
