-- All layers of a job, in dispatch order.
-- Parameters: $1 job id. Rows: its layers. Locks: none.
SELECT layer.pk_layer::text AS id,
       layer.str_name::text AS name,
       job.pk_job::text AS job,
       job.str_name::text AS job_name,
       job.str_state::text AS job_state,
       show.str_name::text AS show,
       COALESCE(layer.str_tags, '')::text AS tags,
       GREATEST(layer_stat.int_waiting_count, 0)::int8 AS waiting,
       GREATEST(layer_stat.int_running_count, 0)::int8 AS running,
       GREATEST(layer_stat.int_depend_count, 0)::int8 AS depend,
       GREATEST(layer_stat.int_dead_count, 0)::int8 AS dead,
       GREATEST(layer_stat.int_eaten_count, 0)::int8 AS eaten,
       GREATEST(layer_stat.int_succeeded_count, 0)::int8 AS succeeded
  FROM job
  JOIN layer ON layer.pk_job = job.pk_job
  JOIN show ON show.pk_show = job.pk_show
  LEFT JOIN layer_stat ON layer_stat.pk_layer = layer.pk_layer
 WHERE job.pk_job = $1
 ORDER BY layer.int_dispatch_order, layer.str_name, layer.pk_layer
