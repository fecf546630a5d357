-- Frame counts of layers, which inserting frames does not change.
-- $1 layers, $2 frames, all of them waiting.
UPDATE layer_stat ls
SET int_waiting_count = counted.frames, int_total_count = counted.frames
FROM unnest($1::text[], $2::int8[]) AS counted (layer, frames)
WHERE ls.pk_layer = counted.layer
