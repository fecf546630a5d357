-- Local procs count here too.
SELECT lr.pk_layer_resource AS id,
    format('cores %s, GPUs %s; its procs hold %s, %s', lr.int_cores, lr.int_gpus, coalesce(held.cores, 0), coalesce(held.gpus, 0)) AS detail
FROM layer_resource lr
LEFT JOIN (
    SELECT p.pk_layer, sum(p.int_cores_reserved) AS cores, sum(p.int_gpus_reserved) AS gpus FROM proc p GROUP BY p.pk_layer
) AS held ON held.pk_layer = lr.pk_layer
WHERE lr.int_cores <> coalesce(held.cores, 0) OR lr.int_gpus <> coalesce(held.gpus, 0)
