-- Takes the frame counters of a batch's layers, all before the first frame changes: the trigger takes
-- them row by row, which deadlocks with whoever changes two layers of the job in the other order.
-- $1 layers. Locks: layer_stat, ascending.
SELECT pk_layer FROM layer_stat WHERE pk_layer = ANY ($1::text[]) ORDER BY pk_layer FOR NO KEY UPDATE
