-- How many frames of the pending jobs of some shows have ended: it changes when completions are applied.
-- And whether anything of these shows that ran before a silence has been seen running since: if not, there
-- is nothing whose completion could be applied.
-- $1 shows, $2 the end of the silence. One row. No locks. Reads the counters of these jobs, and the procs of
-- these shows by index.
SELECT ended.frames,
    EXISTS (
        SELECT
        FROM proc p
        WHERE p.pk_show = ANY ($1::text[]) AND p.ts_dispatched < $2::timestamptz AND p.ts_ping >= $2::timestamptz
    ) AS has_survivors
FROM (
    SELECT coalesce(sum(job_stat.int_succeeded_count + job_stat.int_dead_count + job_stat.int_eaten_count), 0)::int8
        AS frames
    FROM job
    JOIN job_stat ON job_stat.pk_job = job.pk_job
    WHERE job.pk_show = ANY ($1::text[]) AND job.str_state = 'PENDING'
) AS ended
