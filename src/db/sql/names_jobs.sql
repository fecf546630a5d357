-- Names of jobs that are not finished and begin with $1, at most $2. Rows: these. Locks: none.
SELECT job.str_name::text AS name
  FROM job
 WHERE job.str_state = 'PENDING'
   AND starts_with(job.str_name, $1)
 ORDER BY 1
 LIMIT $2
