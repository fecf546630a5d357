-- Use of limits where the schema knows host limits and outside reports: what was last reported plus
-- what was dispatched since then, less a window in which a report may not yet show it.
-- $1 limits, $2 hosts of the chunk, $3 the window in seconds. One row per limit that can block:
-- enforced, and never reported or reported recently enough. `threshold` NULL never blocks.
-- `holders` are those of the hosts that hold a seat: named in the report or with any proc of a bound
-- layer. Reported names are lower case and cut at the first dot.
-- Reads the procs of the bound layers. No locks; run after the limits' locks are held, in its own
-- statement, so that it sees all that was committed before.
SELECT lr.pk_limit_record, lr.str_type = 'HOST' AS counts_hosts,
    CASE WHEN lr.str_type = 'HOST' AND lr.int_soft_value >= 0 THEN lr.int_soft_value
        ELSE lr.int_max_value END::int8 AS threshold,
    (CASE WHEN lr.str_type = 'HOST' THEN settled.hosts + pending.hosts
        ELSE settled.tokens + pending.frames END)::int8 AS used,
    CASE WHEN lr.str_type <> 'HOST' THEN '{}'::text[]
        ELSE ARRAY(
            SELECT h.pk_host::text
            FROM host h
            WHERE h.pk_host = ANY ($2::text[])
                AND (EXISTS (SELECT FROM limit_host lh WHERE lh.pk_limit_record = lr.pk_limit_record
                        AND lh.str_host_name = lower(split_part(h.str_name, '.', 1)))
                    OR EXISTS (SELECT FROM proc p JOIN layer_limit ll ON ll.pk_layer = p.pk_layer
                        WHERE p.pk_host = h.pk_host AND ll.pk_limit_record = lr.pk_limit_record))
        ) END AS holders
FROM limit_record lr
CROSS JOIN LATERAL (
    SELECT coalesce(sum(lh.int_tokens), 0) AS tokens, count(lh.pk_limit_host) AS hosts
    FROM limit_host lh
    WHERE lh.pk_limit_record = lr.pk_limit_record AND lr.ts_reported IS NOT NULL
) AS settled
CROSS JOIN LATERAL (
    SELECT count(*) AS frames,
        count(DISTINCT p.pk_host) FILTER (WHERE NOT EXISTS (
            SELECT FROM limit_host lh
            WHERE lh.pk_limit_record = lr.pk_limit_record
                AND lh.str_host_name = lower(split_part(h.str_name, '.', 1)))) AS hosts
    FROM layer_limit ll
    JOIN proc p ON p.pk_layer = ll.pk_layer
    JOIN host h ON h.pk_host = p.pk_host
    WHERE ll.pk_limit_record = lr.pk_limit_record
        AND (lr.ts_reported IS NULL OR p.ts_dispatched > lr.ts_reported - make_interval(secs => $3::float8))
) AS pending
WHERE lr.pk_limit_record = ANY ($1::text[])
    AND lr.str_enforcement = 'ENFORCED'
    AND (lr.int_report_ttl = 0 OR lr.ts_reported IS NULL
        OR lr.ts_reported > current_timestamp - make_interval(secs => lr.int_report_ttl))
