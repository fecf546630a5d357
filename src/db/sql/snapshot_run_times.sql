-- How long a frame of some layers takes, by those of the layer that have succeeded, or else of its job.
-- Parameters: $1 layer ids. Rows: those layers for which that is known. Locks: none.
SELECT layer.pk_layer::text AS pk_layer,
       (CASE WHEN layer_usage.int_frame_success_count > 0
             THEN layer_usage.int_clock_time_success::float8 / layer_usage.int_frame_success_count
             ELSE job_usage.int_clock_time_success::float8 / job_usage.int_frame_success_count
         END)::float8 AS seconds
  FROM layer
  LEFT JOIN layer_usage ON layer_usage.pk_layer = layer.pk_layer
  LEFT JOIN job_usage ON job_usage.pk_job = layer.pk_job
 WHERE layer.pk_layer = ANY ($1)
   AND (layer_usage.int_frame_success_count > 0 OR job_usage.int_frame_success_count > 0)
