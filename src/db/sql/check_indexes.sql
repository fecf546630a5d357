-- Which columns lead an index that covers all rows, and whether it alone is unique there.
-- $1 tables. Rows: some hundreds. Locks: none.
SELECT relation.relname::text AS relation,
       attribute.attname::text AS part,
       bool_or(index_entry.indisunique AND index_entry.indnkeyatts = 1) AS is_unique
  FROM pg_catalog.pg_index AS index_entry
  JOIN pg_catalog.pg_class AS relation ON relation.oid = index_entry.indrelid
  JOIN pg_catalog.pg_attribute AS attribute
    ON attribute.attrelid = relation.oid AND attribute.attnum = index_entry.indkey[0]
 WHERE index_entry.indisvalid
   AND index_entry.indpred IS NULL
   AND relation.relname = ANY ($1)
   AND pg_catalog.pg_table_is_visible(relation.oid)
 GROUP BY relation.relname, attribute.attname
