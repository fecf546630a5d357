-- Layers by id, or of pending jobs by the beginnings of the job's and the layer's name.
-- Parameters: $1 the id, $2 LIKE pattern of the job's name, $3 LIKE pattern of the layer's name, $4 the
-- job's exact name or NULL, $5 the layer's exact name, $6 most rows.
-- Rows: layers, the best match first. Locks: none.
-- One by key; the others through the index of pending jobs and their layers.
SELECT layer.pk_layer::text AS id,
       layer.str_name::text AS name,
       job.pk_job::text AS job,
       job.str_name::text AS job_name,
       job.str_state::text AS job_state,
       show.str_name::text AS show,
       COALESCE(layer.str_tags, '')::text AS tags,
       (layer.pk_layer = $1
           OR (layer.str_name = $5 AND ($4::text IS NULL OR job.str_name = $4))) AS is_exact,
       GREATEST(layer_stat.int_waiting_count, 0)::int8 AS waiting,
       GREATEST(layer_stat.int_running_count, 0)::int8 AS running,
       GREATEST(layer_stat.int_depend_count, 0)::int8 AS depend,
       GREATEST(layer_stat.int_dead_count, 0)::int8 AS dead,
       GREATEST(layer_stat.int_eaten_count, 0)::int8 AS eaten,
       GREATEST(layer_stat.int_succeeded_count, 0)::int8 AS succeeded
  FROM (SELECT by_key.pk_layer
          FROM layer AS by_key
         WHERE by_key.pk_layer = $1
         UNION
        SELECT by_name.pk_layer
          FROM job AS pending
          JOIN layer AS by_name ON by_name.pk_job = pending.pk_job AND by_name.str_name LIKE $3
         WHERE pending.str_state = 'PENDING'
           AND pending.str_name LIKE $2) AS found
  JOIN layer ON layer.pk_layer = found.pk_layer
  JOIN job ON job.pk_job = layer.pk_job
  JOIN show ON show.pk_show = job.pk_show
  LEFT JOIN layer_stat ON layer_stat.pk_layer = layer.pk_layer
 ORDER BY is_exact DESC, job.str_name, layer.str_name, layer.pk_layer
 LIMIT $6
