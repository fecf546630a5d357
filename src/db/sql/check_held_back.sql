-- What keeps the server from removing dead rows of this database, and since how many seconds (-1: not known).
-- A prepared transaction holds what it saw like an open one. A slot that nobody uses keeps the log too, and what
-- it asked for it holds of every database.
-- Rows: the holders, and one of kind hidden for each session whose transaction this user may not see. Locks: none.
SELECT 'transaction' AS kind,
       format('%s of %s (%s)', activity.pid, activity.usename, activity.application_name) AS name,
       extract(epoch FROM clock_timestamp() - activity.xact_start)::int8 AS seconds
  FROM pg_catalog.pg_stat_activity AS activity
 WHERE activity.datname = current_database()
   AND activity.backend_type = 'client backend'
   AND activity.xact_start IS NOT NULL
   AND activity.pid <> pg_catalog.pg_backend_pid()
UNION ALL
SELECT 'hidden', activity.pid::text, -1
  FROM pg_catalog.pg_stat_activity AS activity
 WHERE activity.datname = current_database()
   AND activity.backend_type IS NULL
UNION ALL
SELECT 'prepared', prepared.gid, extract(epoch FROM clock_timestamp() - prepared.prepared)::int8
  FROM pg_catalog.pg_prepared_xacts AS prepared
 WHERE prepared.database = current_database()
UNION ALL
SELECT 'slot', slot.slot_name::text, -1
  FROM pg_catalog.pg_replication_slots AS slot
 WHERE NOT slot.active
   AND (slot.restart_lsn IS NOT NULL OR slot.xmin IS NOT NULL OR slot.catalog_xmin IS NOT NULL)
 ORDER BY kind, seconds DESC, name
