-- What stands behind reported runs that no proc vouches for.
-- $1 procs, $2 frames. One row per frame that counts as running. No locks.
SELECT reported.frame, p.pk_proc IS NOT NULL AS is_proc_known
FROM unnest($1::text[], $2::text[]) AS reported (proc, frame)
JOIN frame f ON f.pk_frame = reported.frame AND f.str_state = 'RUNNING'
LEFT JOIN proc p ON p.pk_proc = reported.proc
