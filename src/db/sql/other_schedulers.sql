-- How many sessions other schedulers have on this database. Every scheduler process names its sessions
-- alike and unlike those of every other; commands that only read name theirs "reading". Names can be
-- read without any right.
-- One row. No locks.
SELECT count(*) AS sessions
FROM pg_stat_activity
WHERE datname = current_database()
    AND application_name LIKE 'cue-scheduler%'
    AND application_name NOT IN (current_setting('application_name'), 'cue-scheduler reading')
