-- Procs with and without a frame. No locks.
SELECT count(pk_frame) AS with_frame, count(*) - count(pk_frame) AS frameless FROM proc
