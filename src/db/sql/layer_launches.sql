-- What a launch needs to know of some layers and their jobs.
-- Parameters: $1 layer ids. Rows: these layers. Locks: none.
-- int_stuck_detection_llu is the layer's column where the schema has it; where not, the name finds
-- the NULL of the enclosing row.
SELECT found.*
  FROM (SELECT NULL::int4 AS int_stuck_detection_llu) AS absent
 CROSS JOIN LATERAL (
       SELECT layer.pk_layer::text AS pk_layer,
              layer.str_name::text AS layer_name,
              layer.str_cmd::text AS str_cmd,
              layer.str_range::text AS str_range,
              layer.int_chunk_size::int8 AS int_chunk_size,
              layer.b_threadable,
              layer.int_mem_min::int8 AS int_mem_min,
              int_stuck_detection_llu::int8 AS int_stuck_detection_llu,
              job.pk_job::text AS pk_job,
              job.str_name::text AS job_name,
              job.str_user::text AS str_user,
              job.int_uid::int8 AS int_uid,
              job.str_log_dir::text AS str_log_dir,
              job.str_show::text AS str_show,
              job.str_shot::text AS str_shot,
              job.str_os::text AS str_os,
              job.str_loki_url::text AS str_loki_url
         FROM layer
         JOIN job ON job.pk_job = layer.pk_job
        WHERE layer.pk_layer = ANY ($1)
       ) AS found
