-- Procs that hold a running frame: each must have been launched. No locks.
SELECT p.pk_proc::text AS proc, p.pk_frame::text AS frame, h.str_name::text AS host
FROM proc p
JOIN frame f ON f.pk_frame = p.pk_frame AND f.str_state = 'RUNNING'
JOIN host h ON h.pk_host = p.pk_host
WHERE NOT p.b_local
