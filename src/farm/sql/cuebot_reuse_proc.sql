-- Puts a started frame on a proc; when the layer is another one, a trigger moves what the proc holds
-- between the two layers.
-- $1 proc, $2 frame, $3 its layer. Locks: proc, and two rows of layer_resource, descending.
UPDATE proc
SET pk_frame = $2, pk_layer = $3, ts_ping = current_timestamp, ts_dispatched = current_timestamp
WHERE pk_proc = $1 AND pk_frame IS NULL
