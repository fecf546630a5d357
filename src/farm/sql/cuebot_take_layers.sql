-- Subtracts released procs from their layers.
-- $1 layers, $2 centicores, $3 GPUs, each the sum of its layer.
-- Locks: layer_resource, descending, as the trigger that moves a proc between layers takes them.
WITH held AS MATERIALIZED (
    SELECT lr.pk_layer_resource, given.cores, given.gpus
    FROM unnest($1::text[], $2::int8[], $3::int8[]) AS given (layer, cores, gpus)
    JOIN layer_resource lr ON lr.pk_layer = given.layer
    ORDER BY lr.pk_layer DESC
    FOR NO KEY UPDATE OF lr
)
UPDATE layer_resource lr
SET int_cores = lr.int_cores - held.cores, int_gpus = lr.int_gpus - held.gpus
FROM held
WHERE lr.pk_layer_resource = held.pk_layer_resource
