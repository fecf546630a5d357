-- First step of repairing a job's counter: takes the row and moves both caps aside, so that the
-- second step puts them back in the statement that writes the amounts. The trigger, which refuses
-- amounts over the caps, looks only at writes that leave the caps alone.
-- $1 the row. Returns what it counts now.
-- Locks: this row, until the transaction ends; everything that books or releases under it waits, so
-- that repair_set sees all who came before and none who come after.
UPDATE job_resource
SET int_max_cores = int_max_cores - 1, int_max_gpus = int_max_gpus - 1
WHERE pk_job_resource = $1
RETURNING int_cores::int8 AS cores, int_gpus::int8 AS gpus
