-- For schemas that know only frames: running frames of all layers with the limit, each layer once.
SELECT lr.pk_limit_record AS id, format('%s: %s frames run, the maximum is %s', lr.str_name, running.frames, lr.int_max_value) AS detail
FROM (SELECT pk_limit_record, min(str_name) AS str_name, min(int_max_value) AS int_max_value FROM limit_record GROUP BY pk_limit_record) AS lr
JOIN (
    SELECT bound.pk_limit_record, count(*) AS frames
    FROM (SELECT DISTINCT pk_limit_record, pk_layer FROM layer_limit) AS bound
    JOIN frame f ON f.pk_layer = bound.pk_layer AND f.str_state = 'RUNNING'
    GROUP BY bound.pk_limit_record
) AS running ON running.pk_limit_record = lr.pk_limit_record
WHERE running.frames > coalesce(lr.int_max_value, 0)
