-- First step of repairing a subscription's counter: takes the row and moves the burst aside, so that
-- the second step puts it back in the statement that writes the amount. The trigger, which refuses
-- amounts over the burst, looks only at writes that leave the burst alone.
-- $1 the row. Returns what it counts now.
-- Locks: this row, until the transaction ends; everything that books or releases under it waits, so
-- that repair_set sees all who came before and none who come after.
UPDATE subscription
SET int_burst = int_burst - 1
WHERE pk_subscription = $1
RETURNING int_cores::int8 AS cores, int_gpus::int8 AS gpus
