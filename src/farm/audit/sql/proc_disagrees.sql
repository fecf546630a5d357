-- A release looks everything up through the proc, Cuebot's clean-up through the frame's host name.
SELECT p.pk_proc AS id,
    concat_ws('; ',
        CASE WHEN p.pk_layer IS DISTINCT FROM f.pk_layer THEN format('layer %s, the frame''s is %s', p.pk_layer, f.pk_layer) END,
        CASE WHEN p.pk_job IS DISTINCT FROM f.pk_job THEN format('job %s, the frame''s is %s', p.pk_job, f.pk_job) END,
        CASE WHEN p.pk_show IS DISTINCT FROM j.pk_show THEN format('show %s, the job''s is %s', p.pk_show, j.pk_show) END,
        CASE WHEN h.str_name IS DISTINCT FROM f.str_host THEN format('host %s, the frame''s is %s', h.str_name, f.str_host) END,
        CASE WHEN p.int_cores_reserved <> f.int_cores OR p.int_gpus_reserved <> f.int_gpus
            THEN format('%s centicores and %s GPUs, the frame''s are %s and %s',
                p.int_cores_reserved, p.int_gpus_reserved, f.int_cores, f.int_gpus) END) AS detail
FROM proc p
JOIN frame f ON f.pk_frame = p.pk_frame AND f.str_state = 'RUNNING'
JOIN job j ON j.pk_job = f.pk_job
JOIN host h ON h.pk_host = p.pk_host
WHERE (p.pk_layer, p.pk_job, p.pk_show, h.str_name, p.int_cores_reserved, p.int_gpus_reserved)
    IS DISTINCT FROM (f.pk_layer, f.pk_job, j.pk_show, f.str_host, f.int_cores, f.int_gpus)
