SELECT s.pk_subscription AS id,
    format('cores %s, GPUs %s; its procs hold %s, %s', s.int_cores, s.int_gpus, coalesce(held.cores, 0), coalesce(held.gpus, 0)) AS detail
FROM subscription s
LEFT JOIN (
    SELECT p.pk_show, h.pk_alloc, sum(p.int_cores_reserved) AS cores, sum(p.int_gpus_reserved) AS gpus
    FROM proc p JOIN host h ON h.pk_host = p.pk_host
    WHERE NOT p.b_local
    GROUP BY p.pk_show, h.pk_alloc
) AS held ON held.pk_show = s.pk_show AND held.pk_alloc = s.pk_alloc
WHERE s.int_cores <> coalesce(held.cores, 0) OR s.int_gpus <> coalesce(held.gpus, 0)
