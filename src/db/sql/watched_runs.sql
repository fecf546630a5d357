-- What became of runs that were begun here: those that failed by the frame's own doing and have not run again.
-- $1 frames, $2 their versions while they ran, $3 exit statuses that are no failure of the frame's own.
-- Rows: one per such frame. Locks: none. By the primary key of frame.
SELECT frame.pk_frame::text AS pk_frame,
       GREATEST(extract(epoch FROM now() - frame.ts_stopped), 0)::float8 AS failed_ago,
       GREATEST(extract(epoch FROM frame.ts_stopped - frame.ts_started), 0)::float8 AS failed_after
  FROM unnest($1::text[], $2::int4[]) AS watched (pk_frame, int_version)
  JOIN frame ON frame.pk_frame = watched.pk_frame AND frame.int_version = watched.int_version + 1
 WHERE frame.str_state <> 'RUNNING'
   AND frame.ts_stopped IS NOT NULL
   AND frame.int_exit_status <> ALL ($3::int8[])
