-- Which of some frames, whose procs are gone, did not simply end: they run, elsewhere or by their row
-- alone, or they ended without a word of their agent, cleared by whoever booked them (299) or given up
-- (301, 302, 399). What such procs held may be subtracted in another way than that of an ended run.
-- $1 frames. Locks: none.
SELECT pk_frame
FROM frame
WHERE pk_frame = ANY ($1::text[]) AND (str_state = 'RUNNING' OR int_exit_status IN (299, 301, 302, 399))
