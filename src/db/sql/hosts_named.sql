-- Hosts that are called like this, whole or up to the first dot, in whatever case: asked when an agent answers
-- under another name than its host's, which is seldom. $1 the name, $2 the same up to its first dot. All of
-- `host`, a row per machine. No locks.
SELECT str_name::text
FROM host
WHERE lower(str_name) = lower($1) OR split_part(lower(str_name), '.', 1) = lower($2)
