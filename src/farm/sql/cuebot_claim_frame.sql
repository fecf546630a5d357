-- Takes a waiting frame, and fails where somebody else holds it: Cuebot does not wait for a frame.
-- $1 frame, $2 version as read. At most one row. Locks: the frame.
SELECT pk_frame
FROM frame
WHERE pk_frame = $1 AND str_state = 'WAITING' AND int_version = $2
FOR UPDATE NOWAIT
