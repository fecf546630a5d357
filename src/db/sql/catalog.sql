-- Finds which of the named tables, and which columns of them, and which indexes on them this user
-- sees on the search path. A row with an empty part is the relation itself.
-- Rows: some hundreds, once at the start. Locks: none.
SELECT relation.relname::text AS relation, '' AS part
  FROM pg_catalog.pg_class AS relation
 WHERE relation.relname = ANY ($1)
   AND relation.relkind IN ('r', 'p', 'v', 'f')
   AND pg_catalog.pg_table_is_visible(relation.oid)
UNION ALL
SELECT relation.relname::text, attribute.attname::text
  FROM pg_catalog.pg_class AS relation
  JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid = relation.oid
 WHERE relation.relname = ANY ($1)
   AND relation.relkind IN ('r', 'p', 'v', 'f')
   AND pg_catalog.pg_table_is_visible(relation.oid)
   AND attribute.attnum > 0
   AND NOT attribute.attisdropped
UNION ALL
SELECT index_relation.relname::text, ''
  FROM pg_catalog.pg_class AS relation
  JOIN pg_catalog.pg_index AS index_entry ON index_entry.indrelid = relation.oid AND index_entry.indisvalid
  JOIN pg_catalog.pg_class AS index_relation ON index_relation.oid = index_entry.indexrelid
 WHERE relation.relname = ANY ($1)
   AND pg_catalog.pg_table_is_visible(relation.oid)
