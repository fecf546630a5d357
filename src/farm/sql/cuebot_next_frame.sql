-- The frame that Cuebot would put on a proc whose frame has ended: the next waiting one of the same job
-- that fits what the proc holds. Not for flagged shows, and here not for layers with limits, which only
-- a booking counts.
-- $1 proc. At most one row.
-- Locks: the frame; one that somebody else holds is passed over, never waited for.
SELECT f.pk_frame, f.int_version::int4 AS int_version, f.pk_layer, h.str_name AS host_name,
    p.int_cores_reserved::int8 AS int_cores, p.int_mem_reserved::int8 AS int_mem,
    p.int_gpus_reserved::int8 AS int_gpus, p.int_gpu_mem_reserved::int8 AS int_gpu_mem
FROM proc p
JOIN host h ON h.pk_host = p.pk_host
JOIN host_stat hs ON hs.pk_host = p.pk_host
JOIN job j ON j.pk_job = p.pk_job
JOIN show s ON s.pk_show = j.pk_show
JOIN layer l ON l.pk_job = j.pk_job
JOIN frame f ON f.pk_layer = l.pk_layer
WHERE p.pk_proc = $1
    AND p.pk_frame IS NULL
    AND NOT p.b_unbooked
    AND NOT p.b_local
    AND h.str_lock_state = 'OPEN'
    AND hs.str_state = 'UP'
    AND j.str_state = 'PENDING'
    AND NOT j.b_paused
    AND (to_jsonb(s) ->> 'b_scheduler_managed')::bool IS NOT TRUE
    AND coalesce((to_jsonb(l) ->> 'ts_start_after')::timestamptz, current_timestamp) <= current_timestamp
    AND l.int_cores_min BETWEEN 1 AND p.int_cores_reserved
    AND l.int_mem_min <= p.int_mem_reserved
    AND l.int_gpus_min <= p.int_gpus_reserved
    AND l.int_gpu_mem_min <= p.int_gpu_mem_reserved
    AND string_to_array(regexp_replace(l.str_tags, '\s', '', 'g'), '|') && string_to_array(h.str_tags, ' ')
    AND NOT EXISTS (SELECT FROM layer_limit ll WHERE ll.pk_layer = l.pk_layer)
    AND f.str_state = 'WAITING'
ORDER BY f.int_dispatch_order, f.int_layer_order, f.pk_frame
LIMIT 1
FOR NO KEY UPDATE OF f SKIP LOCKED
