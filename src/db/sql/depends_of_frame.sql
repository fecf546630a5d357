-- What a frame waits for: dependencies of the frame, of its layer and of its job that are not met.
-- Parameters: $1 frame id, $2 layer id, $3 job id, $4 most rows. Rows: each thing once, as job, job/layer or
-- job/frame. Locks: none.
-- Through the index of the jobs that depend.
SELECT DISTINCT concat_ws('/', job.str_name, COALESCE(frame.str_name, layer.str_name))::text AS name
  FROM depend
  JOIN job ON job.pk_job = depend.pk_job_depend_on
  LEFT JOIN layer ON layer.pk_layer = depend.pk_layer_depend_on
  LEFT JOIN frame ON frame.pk_frame = depend.pk_frame_depend_on
 WHERE depend.b_active
   AND depend.pk_job_depend_er = $3
   AND (depend.pk_layer_depend_er IS NULL OR depend.pk_layer_depend_er = $2)
   AND (depend.pk_frame_depend_er IS NULL OR depend.pk_frame_depend_er = $1)
 ORDER BY name
 LIMIT $4
