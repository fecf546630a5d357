-- The triggers of some tables with what their functions do.
-- $1 tables. Rows: some dozens. Locks: none.
SELECT relation.relname::text AS relation,
       trigger.tgtype::int4 AS kind,
       trigger.tgenabled IN ('O', 'A') AS is_enabled,
       lower(coalesce(function.prosrc, '')) AS source,
       language.lanname IN ('plpgsql', 'sql') AND coalesce(function.prosrc, '') <> '' AS is_readable
  FROM pg_catalog.pg_trigger AS trigger
  JOIN pg_catalog.pg_class AS relation ON relation.oid = trigger.tgrelid
  JOIN pg_catalog.pg_proc AS function ON function.oid = trigger.tgfoid
  JOIN pg_catalog.pg_language AS language ON language.oid = function.prolang
 WHERE NOT trigger.tgisinternal
   AND relation.relname = ANY ($1)
   AND pg_catalog.pg_table_is_visible(relation.oid)
