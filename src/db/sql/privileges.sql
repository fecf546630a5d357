-- Which of some privileges this user lacks. A relation or column that is not there is not lacked here.
-- $1 relations, $2 columns (empty: the whole relation), $3 privileges, side by side; $4 whether the
-- sequence behind the queue of frame history is needed too.
-- Rows: one per relation with the privileges lacked, and the user. Locks: none.
SELECT current_user::text AS "user", lacked.relation::text AS "table", array_agg(DISTINCT lacked.privilege) AS privileges
  FROM (
       SELECT wanted.relation, wanted.privilege
         FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (relation, part, privilege)
         JOIN pg_catalog.pg_class AS relation
           ON relation.relname = wanted.relation
          AND relation.relkind IN ('r', 'p', 'v', 'f')
          AND pg_catalog.pg_table_is_visible(relation.oid)
         LEFT JOIN pg_catalog.pg_attribute AS attribute
           ON attribute.attrelid = relation.oid AND attribute.attname = wanted.part AND NOT attribute.attisdropped
        WHERE CASE WHEN wanted.part = '' THEN NOT has_table_privilege(relation.oid, wanted.privilege)
                   WHEN attribute.attnum IS NULL THEN false
                   ELSE NOT has_column_privilege(relation.oid, attribute.attnum, wanted.privilege) END
       UNION ALL
       SELECT sequence.name, 'USAGE'
         FROM (SELECT CASE WHEN $4 AND to_regclass('frame_history_queue') IS NOT NULL
                           THEN pg_get_serial_sequence('frame_history_queue', 'id') END AS name) AS sequence
        WHERE sequence.name IS NOT NULL
          AND NOT has_sequence_privilege(sequence.name, 'USAGE')
       ) AS lacked
 GROUP BY lacked.relation
