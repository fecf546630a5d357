-- Which of some procs exist and still run the frame they were written for, with all that an undo or a
-- launch needs.
-- $1 procs. One row per proc found. No locks.
SELECT p.pk_proc, p.pk_frame, f.str_name, f.int_number, f.int_version, p.pk_layer, p.pk_job, p.pk_show, p.pk_host,
    h.str_name AS host_name, p.int_cores_reserved, p.int_mem_reserved, p.int_gpus_reserved::int8 AS int_gpus_reserved,
    p.int_gpu_mem_reserved
FROM proc p
JOIN frame f ON f.pk_frame = p.pk_frame
JOIN host h ON h.pk_host = p.pk_host
WHERE p.pk_proc = ANY ($1::text[])
    AND f.str_state = 'RUNNING'
    AND f.int_version IS NOT NULL
    AND p.pk_layer IS NOT NULL
    AND p.pk_job IS NOT NULL
    AND p.pk_show IS NOT NULL
ORDER BY p.pk_proc
