-- How long a session waits for a lock before the server looks for a deadlock, in milliseconds.
-- One row. No locks.
SELECT setting::int8 FROM pg_settings WHERE name = 'deadlock_timeout'
