SELECT p.pk_proc AS id, format('holds frame %s, which is %s', f.str_name, f.str_state) AS detail
FROM proc p
JOIN frame f ON f.pk_frame = p.pk_frame
WHERE f.str_state <> 'RUNNING'
