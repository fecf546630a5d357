-- Use of limits where the schema knows only frames: running frames of all layers that carry the
-- limit, in any show. A missing maximum blocks, as Cuebot's comparison with NULL does.
-- $1 limits. One row per limit. No locks; run after the limits' locks are held, in its own statement,
-- so that it sees all that was committed before.
SELECT lr.pk_limit_record, false AS counts_hosts, coalesce(min(lr.int_max_value), 0)::int8 AS threshold,
    coalesce((
        SELECT sum(greatest(ls.int_running_count, 0))
        FROM layer_stat ls
        WHERE ls.pk_layer IN (SELECT ll.pk_layer FROM layer_limit ll WHERE ll.pk_limit_record = lr.pk_limit_record)
    ), 0)::int8 AS used,
    '{}'::text[] AS holders
FROM limit_record lr
WHERE lr.pk_limit_record = ANY ($1::text[])
GROUP BY lr.pk_limit_record
