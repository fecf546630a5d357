-- For typed limits: what procs of bound layers use, outside reports left aside, since nobody here can
-- help what others use. Frame limits count procs, host limits the hosts of procs that no report seats.
SELECT lr.pk_limit_record AS id,
    format('%s: %s %s, the maximum is %s', lr.str_name, used.used,
        CASE WHEN lr.str_type = 'HOST' THEN 'hosts hold a seat' ELSE 'procs run' END, used.threshold) AS detail
FROM limit_record lr
CROSS JOIN LATERAL (
    SELECT CASE WHEN lr.str_type = 'HOST'
            THEN count(DISTINCT p.pk_host) FILTER (WHERE NOT EXISTS (
                SELECT FROM limit_host lh
                WHERE lh.pk_limit_record = lr.pk_limit_record
                    AND lh.str_host_name = lower(split_part(h.str_name, '.', 1))))
            ELSE count(*) END AS used,
        CASE WHEN lr.str_type = 'HOST' AND lr.int_soft_value >= 0 THEN lr.int_soft_value ELSE lr.int_max_value END AS threshold
    FROM layer_limit ll
    JOIN proc p ON p.pk_layer = ll.pk_layer
    JOIN host h ON h.pk_host = p.pk_host
    WHERE ll.pk_limit_record = lr.pk_limit_record
) AS used
WHERE lr.str_enforcement = 'ENFORCED'
    AND (lr.int_report_ttl = 0 OR lr.ts_reported IS NULL
        OR lr.ts_reported > current_timestamp - make_interval(secs => lr.int_report_ttl))
    AND used.used > greatest(used.threshold, 0)
