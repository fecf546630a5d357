-- Switches checkpointing off where it is on: otherwise a trigger turns the frame's way back to
-- WAITING into CHECKPOINT, where it would stay. Must be written before the state is.
-- $1 frames that this transaction holds.
-- Locks: none new.
UPDATE frame
SET str_checkpoint_state = 'DISABLED'
WHERE pk_frame = ANY ($1::text[]) AND str_checkpoint_state IN ('ENABLED', 'COPYING')
