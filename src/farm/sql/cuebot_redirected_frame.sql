-- What Cuebot books on a host that an order has freed: the next waiting frame of the job or group that
-- fits what is idle there.
-- $1 host, $2 job or NULL, $3 folder or NULL, $4 whether shows that are left to a scheduler are passed
-- over. At most one row. Locks: none; the booking takes the frame.
SELECT f.pk_frame, f.int_version::int4 AS int_version, l.pk_layer, j.pk_job, j.pk_show,
    h.str_name AS host_name, GREATEST(l.int_cores_min, 100)::int8 AS int_cores, l.int_mem_min::int8 AS int_mem,
    l.int_gpus_min::int8 AS int_gpus, l.int_gpu_mem_min::int8 AS int_gpu_mem
FROM host h
JOIN alloc a ON a.pk_alloc = h.pk_alloc
JOIN job j ON j.pk_facility = a.pk_facility AND (j.pk_job = $2 OR j.pk_folder = $3)
JOIN show s ON s.pk_show = j.pk_show
JOIN layer l ON l.pk_job = j.pk_job
JOIN frame f ON f.pk_layer = l.pk_layer
WHERE h.pk_host = $1
    AND h.str_lock_state = 'OPEN'
    AND j.str_state = 'PENDING'
    AND NOT j.b_paused
    AND NOT ($4 AND (to_jsonb(s) ->> 'b_scheduler_managed')::bool IS TRUE)
    AND GREATEST(l.int_cores_min, 100) <= h.int_cores_idle
    AND l.int_mem_min <= h.int_mem_idle
    AND l.int_gpus_min <= h.int_gpus_idle
    AND l.int_gpu_mem_min <= h.int_gpu_mem_idle
    AND string_to_array(regexp_replace(l.str_tags, '\s', '', 'g'), '|') && string_to_array(h.str_tags, ' ')
    AND NOT EXISTS (SELECT FROM layer_limit ll WHERE ll.pk_layer = l.pk_layer)
    AND f.str_state = 'WAITING'
ORDER BY f.int_dispatch_order, f.int_layer_order, f.pk_frame
LIMIT 1
