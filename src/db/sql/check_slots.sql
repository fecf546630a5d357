-- What there is of slots, which are counted beside cores and memory by a Cuebot that is yet to come: columns,
-- hosts of some facilities with a limit on them, and waiting layers of some shows that ask for them.
-- Parameters: $1 facility ids, $2 show ids. Rows: kind and name. Locks: none.
-- The columns are those of their tables where the schema has them; where not, the names find the NULLs of the
-- enclosing row.
SELECT 'column' AS kind, (relation.relname || '.' || part.attname)::text AS name
  FROM pg_attribute AS part
  JOIN pg_class AS relation ON relation.oid = part.attrelid AND relation.relkind IN ('r', 'p')
 WHERE part.attname IN ('int_slots_required', 'int_concurrent_slots_limit', 'int_slots_reserved', 'int_max_slots')
   AND NOT part.attisdropped
   AND pg_table_is_visible(relation.oid)
 UNION ALL
SELECT 'host', limited.name
  FROM (SELECT NULL::int8 AS int_concurrent_slots_limit) AS absent
 CROSS JOIN LATERAL (
       SELECT host.str_name::text AS name
         FROM host
         JOIN alloc ON alloc.pk_alloc = host.pk_alloc
        WHERE alloc.pk_facility = ANY ($1)
          AND int_concurrent_slots_limit > 0
       ) AS limited
 UNION ALL
SELECT 'layer', asking.name
  FROM (SELECT NULL::int8 AS int_slots_required) AS absent
 CROSS JOIN LATERAL (
       SELECT (job.str_name || '/' || layer.str_name)::text AS name
         FROM job
         JOIN layer_stat AS waiting ON waiting.pk_job = job.pk_job AND waiting.int_waiting_count > 0
         JOIN layer ON layer.pk_layer = waiting.pk_layer
        WHERE job.str_state = 'PENDING'
          AND job.pk_show = ANY ($2)
          AND int_slots_required > 0
       ) AS asking
 ORDER BY 1, 2
