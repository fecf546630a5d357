-- The procs that reports name, and those that hold the frames that reports name. Sent after the frames
-- are taken, since what a proc runs only changes together with its frame.
-- $1 procs, $2 frames, $3 seconds: whether a proc was not reported for that long. No locks.
SELECT pk_proc, pk_frame, ts_ping < current_timestamp - make_interval(secs => $3::float8) AS is_stale
FROM proc
WHERE pk_proc = ANY ($1::text[]) OR pk_frame = ANY ($2::text[])
