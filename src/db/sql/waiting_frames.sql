-- The next waiting frames of some layers, in dispatch order within each layer.
-- Parameters: $1 layer ids, each once, $2 how many frames of each. Rows: at most the sum of $2.
-- Locks: none.
-- The inner query runs once per layer and stops at its limit. Where i_frame_layer_dispatch_waiting
-- exists it reads just the frames it returns; older schemas read the layer's frames by
-- i_frame_pkjoblayer and sort the waiting ones. Never a scan of frame.
-- ts_start_after and ts_eligible are columns where the schema has them; where not, the names find
-- the NULLs of the enclosing row, so one statement serves every generation. A frame that ran and
-- came back has waited since it stopped.
SELECT found.*
  FROM (SELECT NULL::timestamptz AS ts_start_after, NULL::timestamptz AS ts_eligible) AS absent
 CROSS JOIN LATERAL (
       SELECT next.pk_frame,
              next.int_version,
              layer.pk_layer::text AS pk_layer,
              layer.pk_job::text AS pk_job,
              next.str_name,
              next.int_number,
              next.holder,
              LEAST(COALESCE(GREATEST(next.ready_at, next.ts_stopped, ts_start_after), job.ts_started), now())
                  AS waiting_since
         FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS wanted (pk_layer, frames, position)
         JOIN layer ON layer.pk_layer = wanted.pk_layer AND (ts_start_after IS NULL OR ts_start_after <= now())
         JOIN job ON job.pk_job = layer.pk_job
        CROSS JOIN LATERAL (
              SELECT frame.pk_frame::text AS pk_frame,
                     frame.int_version::int8 AS int_version,
                     frame.str_name::text AS str_name,
                     frame.int_number::int8 AS int_number,
                     frame.ts_stopped,
                     ts_eligible AS ready_at,
                     frame.int_dispatch_order,
                     frame.int_layer_order,
                     (SELECT proc.pk_proc FROM proc WHERE proc.pk_frame = frame.pk_frame)::text AS holder
                FROM frame
               WHERE frame.pk_layer = wanted.pk_layer AND frame.str_state = 'WAITING'
               ORDER BY frame.int_dispatch_order, frame.int_layer_order, frame.pk_frame
               LIMIT wanted.frames
              ) AS next
        ORDER BY wanted.position, next.int_dispatch_order, next.int_layer_order, next.pk_frame
       ) AS found
