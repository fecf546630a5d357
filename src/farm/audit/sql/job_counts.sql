-- Frames in SETUP are counted nowhere but in the total.
SELECT s.pk_job_stat AS id,
    format('waiting %s, running %s, dead %s, depend %s, eaten %s, succeeded %s, checkpoint %s, total %s; counted %s, %s, %s, %s, %s, %s, %s, %s',
        s.int_waiting_count, s.int_running_count, s.int_dead_count, s.int_depend_count, s.int_eaten_count,
        s.int_succeeded_count, s.int_checkpoint_count, j.int_frame_count, coalesce(counted.waiting, 0), coalesce(counted.running, 0),
        coalesce(counted.dead, 0), coalesce(counted.depend, 0), coalesce(counted.eaten, 0),
        coalesce(counted.succeeded, 0), coalesce(counted.checkpoint, 0), coalesce(counted.total, 0)) AS detail
FROM job_stat s
JOIN job j ON j.pk_job = s.pk_job
LEFT JOIN (
    SELECT pk_job,
        count(*) FILTER (WHERE str_state = 'WAITING') AS waiting,
        count(*) FILTER (WHERE str_state = 'RUNNING') AS running,
        count(*) FILTER (WHERE str_state = 'DEAD') AS dead,
        count(*) FILTER (WHERE str_state = 'DEPEND') AS depend,
        count(*) FILTER (WHERE str_state = 'EATEN') AS eaten,
        count(*) FILTER (WHERE str_state = 'SUCCEEDED') AS succeeded,
        count(*) FILTER (WHERE str_state = 'CHECKPOINT') AS checkpoint,
        count(*) AS total
    FROM frame
    GROUP BY pk_job
) AS counted ON counted.pk_job = s.pk_job
WHERE (s.int_waiting_count, s.int_running_count, s.int_dead_count, s.int_depend_count, s.int_eaten_count,
        s.int_succeeded_count, s.int_checkpoint_count, j.int_frame_count)
    IS DISTINCT FROM (coalesce(counted.waiting, 0), coalesce(counted.running, 0), coalesce(counted.dead, 0),
        coalesce(counted.depend, 0), coalesce(counted.eaten, 0), coalesce(counted.succeeded, 0),
        coalesce(counted.checkpoint, 0), coalesce(counted.total, 0))
