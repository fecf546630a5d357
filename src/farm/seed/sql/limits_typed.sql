-- For schemas with typed limits.
-- $1 limits that count hosts.
UPDATE limit_record SET str_type = 'HOST' WHERE pk_limit_record = ANY ($1::text[])
