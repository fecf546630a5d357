-- What has become of some frames.
-- Parameters: $1 frame ids. Rows: those that are still there. Locks: none.
-- One index row of frame each.
SELECT frame.pk_frame::text AS pk_frame,
       frame.str_state::text AS str_state,
       COALESCE(frame.int_version, 0)::int8 AS int_version
  FROM frame
 WHERE frame.pk_frame = ANY ($1)
