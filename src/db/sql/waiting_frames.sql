-- The next waiting frames of some layers, in dispatch order within each layer.
-- Parameters: $1 layer ids, $2 how many frames of each, $3 for each a host's name or NULL: frames that
-- failed there a moment ago are passed over, $4 seconds that a moment lasts, $5 exit statuses that are no
-- failure of the frame's own. Rows: at most the sum of $2. Locks: none.
-- The inner query runs once per layer and stops at its limit. Where i_frame_layer_dispatch_waiting
-- exists it reads just the frames it returns; older schemas read the layer's frames by
-- i_frame_pkjoblayer and sort the waiting ones. Never a scan of frame.
-- ts_start_after and ts_eligible are columns where the schema has them; where not, the names find
-- the NULLs of the enclosing row, so one statement serves every generation. A frame that ran and
-- came back has waited since it stopped. Of one that failed within some minutes the row still says where.
-- Cuebot writes a frame's host with its cores and GPUs behind slashes.
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
              next.failed_on,
              next.failed_ago,
              next.failed_after,
              LEAST(COALESCE(GREATEST(next.ready_at, next.ts_stopped, ts_start_after), job.ts_started), now())
                  AS waiting_since
         FROM unnest($1::text[], $2::int8[], $3::text[]) WITH ORDINALITY
                  AS wanted (pk_layer, frames, host, position)
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
                     (SELECT proc.pk_proc FROM proc WHERE proc.pk_frame = frame.pk_frame)::text AS holder,
                     CASE WHEN frame.ts_stopped > now() - interval '5 minutes'
                               AND frame.int_exit_status <> ALL ($5::int8[])
                          THEN split_part(frame.str_host::text, '/', 1) END AS failed_on,
                     GREATEST(extract(epoch FROM now() - frame.ts_stopped), 0)::float8 AS failed_ago,
                     GREATEST(extract(epoch FROM frame.ts_stopped - frame.ts_started), 0)::float8 AS failed_after
                FROM frame
               WHERE frame.pk_layer = wanted.pk_layer AND frame.str_state = 'WAITING'
                 AND (wanted.host IS NOT NULL
                      AND frame.ts_stopped > now() - make_interval(secs => $4)
                      AND frame.int_exit_status <> ALL ($5::int8[])
                      AND split_part(frame.str_host::text, '/', 1) = wanted.host) IS NOT TRUE
               ORDER BY frame.int_dispatch_order, frame.int_layer_order, frame.pk_frame
               LIMIT wanted.frames
              ) AS next
        ORDER BY wanted.position, next.int_dispatch_order, next.int_layer_order, next.pk_frame
       ) AS found
