-- Raises the highest memory of layers.
-- $1 layers, $2 highest memory KiB of their ended runs. Locks: layer_mem, ascending.
WITH held AS MATERIALIZED (
    SELECT m.pk_layer_mem, given.memory
    FROM unnest($1::text[], $2::int8[]) AS given (layer, memory)
    JOIN layer_mem m ON m.pk_layer = given.layer AND m.int_max_rss < given.memory
    ORDER BY m.pk_layer
    FOR NO KEY UPDATE OF m
)
UPDATE layer_mem m
SET int_max_rss = greatest(m.int_max_rss, held.memory)
FROM held
WHERE m.pk_layer_mem = held.pk_layer_mem
