-- How many connections this user may have, and how many others are open.
-- Rows: one. Locks: none.
SELECT current_setting('max_connections')::int8
           - CASE WHEN role.rolsuper THEN 0
                  ELSE current_setting('superuser_reserved_connections')::int8
                       + coalesce(current_setting('reserved_connections', true), '0')::int8 END AS allowed,
       role.rolconnlimit::int8 AS of_role,
       database.datconnlimit::int8 AS of_database,
       (SELECT count(*)
          FROM pg_catalog.pg_stat_activity
         WHERE backend_type = 'client backend' AND application_name NOT LIKE 'cue-scheduler%') AS others
  FROM pg_catalog.pg_roles AS role, pg_catalog.pg_database AS database
 WHERE role.rolname = current_user
   AND database.datname = current_database()
