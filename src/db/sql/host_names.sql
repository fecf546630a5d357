-- The names of all hosts, of every facility and state: asked when an agent answers under another name than its
-- host's, at most once a minute. All of `host`, a row per machine. No locks.
SELECT str_name::text
FROM host
