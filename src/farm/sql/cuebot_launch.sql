-- What the message says that launches the frame of a proc.
-- $1 proc. At most one row. No locks.
SELECT h.str_name AS host_name, f.pk_frame, f.str_name AS frame_name, f.int_number::int4 AS int_number,
    f.int_version::int4 AS int_version, l.pk_layer, l.str_name AS layer_name, l.str_cmd, l.str_range,
    l.int_chunk_size::int4 AS int_chunk_size, l.b_threadable, l.int_mem_min::int8 AS int_mem_min, j.pk_job,
    j.str_name AS job_name, j.str_user, j.int_uid::int4 AS int_uid, j.str_log_dir, j.str_show, j.str_shot,
    coalesce(j.str_os, '') AS str_os, coalesce(j.str_loki_url, '') AS str_loki_url,
    p.int_cores_reserved::int4 AS int_cores, p.int_mem_reserved::int8 AS int_mem,
    p.int_gpus_reserved::int4 AS int_gpus, p.int_gpu_mem_reserved::int8 AS int_gpu_mem
FROM proc p
JOIN host h ON h.pk_host = p.pk_host
JOIN frame f ON f.pk_frame = p.pk_frame
JOIN layer l ON l.pk_layer = f.pk_layer
JOIN job j ON j.pk_job = f.pk_job
WHERE p.pk_proc = $1
