SELECT held.pk_show AS id, format('procs hold %s centicores of allocation %s, to which the show does not subscribe', held.cores, held.pk_alloc) AS detail
FROM (
    SELECT p.pk_show, h.pk_alloc, sum(p.int_cores_reserved) AS cores
    FROM proc p JOIN host h ON h.pk_host = p.pk_host
    WHERE NOT p.b_local
    GROUP BY p.pk_show, h.pk_alloc
) AS held
LEFT JOIN subscription s ON s.pk_show = held.pk_show AND s.pk_alloc = held.pk_alloc
WHERE s.pk_subscription IS NULL
