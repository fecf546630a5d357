-- Pending jobs of which frames failed on a host at once a few minutes ago, as far as they have not run again.
-- $1 the host's name, $2 exit statuses that are no failure of the frame's own, $3 seconds below which a run ended
-- at once, $4 most rows. Rows: names of jobs. Locks: none.
-- One look per pending job, which stops at the first such frame: by i_frame_state_job, for one question of a
-- person. Cuebot writes a frame's host with its cores and GPUs behind slashes.
SELECT job.str_name::text AS name
  FROM job
 CROSS JOIN LATERAL (
       SELECT 1
         FROM frame
        WHERE frame.pk_job = job.pk_job
          AND frame.str_state IN ('WAITING', 'DEAD')
          AND frame.ts_stopped > now() - interval '5 minutes'
          AND frame.ts_stopped - frame.ts_started < make_interval(secs => $3)
          AND split_part(frame.str_host::text, '/', 1) = $1
          AND frame.int_exit_status <> ALL ($2::int8[])
        LIMIT 1
       ) AS failed
 WHERE job.str_state = 'PENDING'
 ORDER BY job.str_name
 LIMIT $4
