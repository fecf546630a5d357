-- Frames that count as running though nothing holds them.
-- $1 seconds without a change, $2 at most so many, oldest first. No locks.
SELECT f.pk_frame, coalesce(f.str_host, '') AS host_name
FROM frame f
JOIN job j ON j.pk_job = f.pk_job
WHERE f.str_state = 'RUNNING'
    AND j.str_state = 'PENDING'
    AND f.ts_updated < current_timestamp - make_interval(secs => $1::float8)
    AND NOT EXISTS (SELECT FROM proc p WHERE p.pk_frame = f.pk_frame)
ORDER BY f.ts_updated, f.pk_frame
LIMIT $2
