-- By what procs hold, not by the counter: a counter that is too low must not hide a breach.
SELECT s.pk_subscription AS id, format('procs hold %s centicores, the burst is %s', held.cores, s.int_burst) AS detail
FROM subscription s
JOIN (
    SELECT p.pk_show, h.pk_alloc, sum(p.int_cores_reserved) AS cores
    FROM proc p JOIN host h ON h.pk_host = p.pk_host
    WHERE NOT p.b_local
    GROUP BY p.pk_show, h.pk_alloc
) AS held ON held.pk_show = s.pk_show AND held.pk_alloc = s.pk_alloc
WHERE held.cores > s.int_burst
