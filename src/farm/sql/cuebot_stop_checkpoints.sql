-- Switches checkpointing off for runs that were lost: a trigger would turn their way back to WAITING
-- into CHECKPOINT, where they would stay.
-- $1 frames that this transaction holds. Locks: none new.
UPDATE frame
SET str_checkpoint_state = 'DISABLED'
WHERE pk_frame = ANY ($1::text[]) AND str_checkpoint_state IN ('ENABLED', 'COPYING')
