SELECT p.pk_frame AS id, format('%s procs hold it: %s', count(*), string_agg(p.pk_proc, ', ' ORDER BY p.pk_proc)) AS detail
FROM proc p
WHERE p.pk_frame IS NOT NULL
GROUP BY p.pk_frame
HAVING count(*) > 1
