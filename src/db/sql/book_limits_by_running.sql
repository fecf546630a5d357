-- Use of limits where the schema knows only frames: running frames of all layers that carry the
-- limit, in any show. A missing maximum blocks, as Cuebot's comparison with NULL does.
-- $1 limits. One row per limit. No locks; run after the limits' locks are held, in its own statement,
-- so that it sees all that was committed before.
-- layer_limit keeps a row for every layer of every job that is not yet deleted, may hold a pair twice,
-- and limit_record an id twice: hence only layers that run something, each once, and the least maximum.
SELECT lr.pk_limit_record, false AS counts_hosts, coalesce(min(lr.int_max_value), 0)::int8 AS threshold,
    coalesce(min(running.frames), 0)::int8 AS used, '{}'::text[] AS holders
FROM limit_record lr
LEFT JOIN (
    SELECT bound.pk_limit_record, sum(bound.int_running_count) AS frames
    FROM (
        SELECT DISTINCT ll.pk_limit_record, ls.pk_layer, ls.int_running_count
        FROM layer_stat ls
        JOIN layer_limit ll ON ll.pk_layer = ls.pk_layer
        WHERE ls.int_running_count > 0 AND ll.pk_limit_record = ANY ($1::text[])
    ) AS bound
    GROUP BY bound.pk_limit_record
) AS running ON running.pk_limit_record = lr.pk_limit_record
WHERE lr.pk_limit_record = ANY ($1::text[])
GROUP BY lr.pk_limit_record
