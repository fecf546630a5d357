-- Defaults of the services that layers name, where there are none yet.
-- $1 keys, $2 names.
INSERT INTO service (pk_service, str_name, b_threadable, int_cores_min, int_mem_min, str_tags)
SELECT service.key, service.name, true, 100, 3355443, 'general'
FROM unnest($1::text[], $2::text[]) AS service (key, name)
WHERE NOT EXISTS (SELECT FROM service AS known WHERE known.str_name = service.name)
