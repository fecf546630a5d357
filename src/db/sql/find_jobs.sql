-- Jobs by id, by exact name, or pending ones by the beginning of their name.
-- Parameters: $1 the text, $2 the text as a LIKE pattern of names that begin with it, $3 most rows.
-- Rows: jobs, the best match first. Locks: none.
-- Three index searches of job: by key, by name, and of the pending ones.
SELECT job.pk_job::text AS id,
       job.str_name::text AS name,
       job.str_state::text AS state,
       show.str_name::text AS show,
       (job.pk_job = $1 OR job.str_name = $1) AS is_exact,
       GREATEST(job_stat.int_waiting_count, 0)::int8 AS waiting,
       GREATEST(job_stat.int_running_count, 0)::int8 AS running,
       GREATEST(job_stat.int_depend_count, 0)::int8 AS depend,
       GREATEST(job_stat.int_dead_count, 0)::int8 AS dead,
       GREATEST(job_stat.int_eaten_count, 0)::int8 AS eaten,
       GREATEST(job_stat.int_succeeded_count, 0)::int8 AS succeeded
  FROM job
  JOIN show ON show.pk_show = job.pk_show
  LEFT JOIN job_stat ON job_stat.pk_job = job.pk_job
 WHERE job.pk_job = $1
    OR job.str_name = $1
    OR (job.str_state = 'PENDING' AND job.str_name LIKE $2)
 ORDER BY job.pk_job = $1 DESC,
          job.str_name = $1 DESC,
          job.str_state = 'PENDING' DESC,
          job.str_name,
          job.ts_started DESC,
          job.pk_job
 LIMIT $3
