-- The most cores that were booked at once on some hosts within a time before their last reports, as frames tell
-- it: those that run there, and those that ended there.
-- Parameters: $1 host ids, $2 that time in seconds. Rows: one per host with such frames. Locks: none.
-- A frame that has run elsewhere since tells only of that. Cuebot writes a stop as a second later than it was.
-- No index knows when or where frames ended, so all frames of pending jobs are read: to be asked once about a
-- host, by somebody who has not watched it for so long. Frames of jobs that have finished since are forgone.
WITH asked AS MATERIALIZED (
    SELECT host.pk_host, host.str_name, host_stat.ts_ping AS reported,
           host_stat.ts_ping - make_interval(secs => $2) AS since
      FROM host
      JOIN host_stat ON host_stat.pk_host = host.pk_host
     WHERE host.pk_host = ANY ($1)
),
run AS (
    SELECT asked.pk_host, frame.int_cores AS cores,
           greatest(frame.ts_started, asked.since) AS began,
           CASE WHEN frame.str_state <> 'RUNNING'
                THEN greatest(frame.ts_stopped - interval '1 second', frame.ts_started, asked.since) END AS ended
      FROM frame
      JOIN asked ON asked.str_name = frame.str_host
     WHERE frame.pk_job IN (SELECT job.pk_job FROM job WHERE job.str_state = 'PENDING')
       AND frame.ts_started <= asked.reported
       AND (frame.str_state = 'RUNNING' OR frame.ts_stopped >= asked.since)
),
change AS (
    SELECT pk_host, began AS at, cores FROM run
     UNION ALL
    SELECT pk_host, ended, -cores FROM run WHERE ended IS NOT NULL
)
SELECT pk_host::text AS pk_host, max(level)::int8 AS cores
  FROM (SELECT pk_host, sum(cores) OVER (PARTITION BY pk_host ORDER BY at, cores DESC) AS level FROM change) AS levels
 GROUP BY pk_host
