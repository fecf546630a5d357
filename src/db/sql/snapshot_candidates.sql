-- Layers with waiting frames of pending jobs of some shows and facilities, whatever holds them back
-- (paused, start-after, caps), so that everything that waits can be explained.
-- Parameters: $1 show ids, $2 facility ids, $3 whether to look when the next frame became ready, $4 whether
-- to look for declared licences.
-- Rows: such layers. Locks: none.
-- The counting trigger keeps the waiting count; a negative one is no waiting work.
-- A layer is eligible from its submission, its frames from the end of their dependencies: the next
-- frame tells better how long work waits. Looking costs one index row per layer where
-- i_frame_layer_dispatch_waiting exists, and all frames of the layer where not, hence $3.
-- ts_start_after, ts_eligible and int_slots_required are the layer's columns where the schema has them; where
-- not, the names find the NULLs of the enclosing row, so one statement serves every generation.
-- A layer's variable hides the job's of the same name; an empty one declares nothing.
SELECT found.*
  FROM (SELECT NULL::timestamptz AS ts_start_after, NULL::timestamptz AS ts_eligible,
               NULL::int8 AS int_slots_required) AS absent
 CROSS JOIN LATERAL (
       SELECT layer.pk_layer::text AS pk_layer,
              layer.pk_job::text AS pk_job,
              layer.str_name::text AS str_name,
              layer.str_tags::text AS str_tags,
              layer.str_services::text AS str_services,
              layer.int_cores_min::int8 AS int_cores_min,
              layer.int_cores_max::int8 AS int_cores_max,
              layer.int_mem_min::int8 AS int_mem_min,
              layer.int_gpus_min::int8 AS int_gpus_min,
              layer.int_gpu_mem_min::int8 AS int_gpu_mem_min,
              layer.int_dispatch_order::int8 AS int_dispatch_order,
              layer.b_threadable,
              ts_start_after,
              ts_eligible,
              COALESCE(int_slots_required, 0) > 0 AS needs_slots,
              CASE WHEN $4 THEN COALESCE(
                   (SELECT bool_or(btrim(COALESCE(own.str_value, '')) <> '')
                      FROM layer_env AS own
                     WHERE own.pk_layer = layer.pk_layer AND own.str_key = 'CUE_LICENSES'),
                   (SELECT bool_or(btrim(COALESCE(inherited.str_value, '')) <> '')
                      FROM job_env AS inherited
                     WHERE inherited.pk_job = layer.pk_job AND inherited.str_key = 'CUE_LICENSES'))
              END AS declares_licences,
              CASE WHEN $3 THEN (SELECT ts_eligible
                                   FROM frame
                                  WHERE frame.pk_layer = layer.pk_layer AND frame.str_state = 'WAITING'
                                  ORDER BY frame.int_dispatch_order, frame.int_layer_order
                                  LIMIT 1) END AS frame_eligible,
              waiting.int_waiting_count::int8 AS int_waiting_count,
              ARRAY (SELECT DISTINCT layer_limit.pk_limit_record::text
                       FROM layer_limit
                      WHERE layer_limit.pk_layer = layer.pk_layer) AS limits
         FROM (SELECT pending.pk_job
                 FROM job AS pending
                WHERE pending.str_state = 'PENDING'
                  AND pending.pk_show = ANY ($1)
                  AND pending.pk_facility = ANY ($2)) AS chosen
         JOIN layer_stat AS waiting ON waiting.pk_job = chosen.pk_job AND waiting.int_waiting_count > 0
         JOIN layer ON layer.pk_layer = waiting.pk_layer
       ) AS found
