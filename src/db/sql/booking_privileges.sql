-- Rights that a booking transaction needs and the user lacks, without trying. A right on any column is
-- taken for enough, since rights may be granted by column. The history, queued in newer schemas, is
-- written by a trigger that runs with the user's own rights.
-- One row per table, with the rights that are missing, and the user; none when nothing is missing.
-- Reads the catalog only. No locks.
SELECT current_user::text AS "user", needed.relation,
    array_agg(needed.privilege ORDER BY needed.privilege) AS privileges
FROM (VALUES
        ('frame', 'SELECT'), ('frame', 'UPDATE'),
        ('layer_stat', 'SELECT'), ('layer_stat', 'UPDATE'),
        ('job_stat', 'SELECT'), ('job_stat', 'UPDATE'),
        ('proc', 'SELECT'), ('proc', 'INSERT'),
        ('host', 'SELECT'), ('host', 'UPDATE'),
        ('subscription', 'SELECT'), ('subscription', 'UPDATE'),
        ('layer_resource', 'SELECT'), ('layer_resource', 'UPDATE'),
        ('job_resource', 'SELECT'), ('job_resource', 'UPDATE'),
        ('folder_resource', 'SELECT'), ('folder_resource', 'UPDATE'),
        ('point', 'SELECT'), ('point', 'UPDATE'),
        ('frame_history', 'INSERT'), ('frame_history_queue', 'INSERT')
    ) AS needed (relation, privilege)
WHERE to_regclass(needed.relation) IS NOT NULL
    AND NOT (needed.relation = 'frame_history' AND to_regclass('frame_history_queue') IS NOT NULL)
    AND NOT has_any_column_privilege(to_regclass(needed.relation), needed.privilege)
GROUP BY needed.relation
ORDER BY needed.relation
