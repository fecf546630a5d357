-- Adds a batch's cores and GPUs to its layers; negative amounts give back. Layers have no caps.
-- $1 layers, $2 centicores, $3 GPUs, each the sum of its layer.
-- Locks: layer_resource, descending as the database collates: the trigger that moves a proc between
-- layers locks its two rows in that order.
WITH wanted AS MATERIALIZED (
    SELECT lr.pk_layer_resource, sums.cores, sums.gpus
    FROM unnest($1::text[], $2::int8[], $3::int8[]) AS sums (layer, cores, gpus)
    JOIN layer_resource lr ON lr.pk_layer = sums.layer
    ORDER BY lr.pk_layer DESC
    FOR NO KEY UPDATE OF lr
)
UPDATE layer_resource lr
SET int_cores = lr.int_cores + wanted.cores, int_gpus = lr.int_gpus + wanted.gpus
FROM wanted
WHERE lr.pk_layer_resource = wanted.pk_layer_resource
