-- Whether the leader of Cuebot's own planner is there: it holds the session advisory lock
-- 22360104104064357, which the lock table shows as two halves (objsubid 1 = one 64-bit key).
-- Rows: one. Locks: none.
SELECT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_locks
            WHERE locktype = 'advisory'
              AND granted
              AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
              AND classid = 5206117
              AND objid = 1849914725
              AND objsubid = 1
       ) AS is_active
