-- Whether the schema has a column.
-- $1 table, $2 column. One row. Locks: none.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_attribute
    WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped) AS found
