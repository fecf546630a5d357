-- Locks the counter rows of all layers of a batch before the first frame changes. The trigger on
-- frame locks layer_stat and job_stat frame by frame; with two layers of one job that deadlocks with
-- a frame stop of Cuebot, which holds the second layer's row and waits for the job's.
-- $1 layers. One row per layer.
-- Locks: layer_stat, ascending.
SELECT pk_layer FROM layer_stat WHERE pk_layer = ANY ($1::text[]) ORDER BY pk_layer FOR NO KEY UPDATE
