-- First step of repairing a counter in point, which has no cap in the database.
-- $1 the row. Returns what it counts now.
-- Locks: this row, until the transaction ends; everything that books or releases under it waits, so
-- that repair_set sees all who came before and none who come after.
SELECT int_cores::int8 AS cores, int_gpus::int8 AS gpus
FROM point
WHERE pk_point = $1
FOR NO KEY UPDATE
