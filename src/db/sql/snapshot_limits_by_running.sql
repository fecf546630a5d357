-- Limits and their use, for schemas without typed limits: the running frames of all layers, of any
-- show, that carry the limit.
-- Parameters: $1 limit ids. Rows: these limits. Locks: none.
-- Read from the layers that run something, since layer_limit keeps the pairs of all finished jobs.
-- It may hold a pair twice, and limit_record an id twice; the reader names the latter.
SELECT limit_record.pk_limit_record::text AS pk_limit_record,
       limit_record.str_name::text AS str_name,
       limit_record.int_max_value::int8 AS int_max_value,
       COALESCE(counted.frames, 0)::int8 AS used
  FROM limit_record
  LEFT JOIN (
       SELECT running.pk_limit_record, sum(running.int_running_count) AS frames
         FROM (SELECT DISTINCT layer_limit.pk_limit_record, layer_stat.pk_layer, layer_stat.int_running_count
                 FROM layer_stat
                 JOIN layer_limit ON layer_limit.pk_layer = layer_stat.pk_layer
                WHERE layer_stat.int_running_count > 0
                  AND layer_limit.pk_limit_record = ANY ($1)) AS running
        GROUP BY running.pk_limit_record
       ) AS counted ON counted.pk_limit_record = limit_record.pk_limit_record
 WHERE limit_record.pk_limit_record = ANY ($1)
