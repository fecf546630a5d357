SELECT f.pk_frame AS id, format('%s of layer %s is RUNNING on %s without a proc', f.str_name, f.pk_layer, f.str_host) AS detail
FROM frame f
LEFT JOIN proc p ON p.pk_frame = f.pk_frame
WHERE f.str_state = 'RUNNING' AND p.pk_proc IS NULL
