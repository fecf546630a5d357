-- Limits and their use, for schemas without typed limits: the running frames of all layers, of any
-- show, that carry the limit.
-- Parameters: $1 limit ids. Rows: these limits. Locks: none.
-- layer_limit may hold a pair twice, and limit_record an id twice; the reader names the latter.
SELECT limit_record.pk_limit_record::text AS pk_limit_record,
       limit_record.str_name::text AS str_name,
       limit_record.int_max_value::int8 AS int_max_value,
       COALESCE(use.frames, 0)::int8 AS used
  FROM limit_record
  LEFT JOIN (
       SELECT bound.pk_limit_record, sum(GREATEST(layer_stat.int_running_count, 0)) AS frames
         FROM (SELECT DISTINCT layer_limit.pk_layer, layer_limit.pk_limit_record
                 FROM layer_limit
                WHERE layer_limit.pk_limit_record = ANY ($1)) AS bound
         JOIN layer_stat ON layer_stat.pk_layer = bound.pk_layer
        GROUP BY bound.pk_limit_record
       ) AS counted ON counted.pk_limit_record = limit_record.pk_limit_record
 WHERE limit_record.pk_limit_record = ANY ($1)
