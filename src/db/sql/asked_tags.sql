-- Which sets of tags the layers of pending jobs ask for, by show and facility.
-- Rows: distinct texts of layer.str_tags per show and facility; reads the layers of pending jobs, once
-- per command. Locks: none.
SELECT job.pk_show::text AS pk_show,
       job.pk_facility::text AS pk_facility,
       layer.str_tags::text AS str_tags,
       count(*)::int8 AS layers
  FROM job
  JOIN layer ON layer.pk_job = job.pk_job
 WHERE job.str_state = 'PENDING'
   AND layer.str_tags IS NOT NULL
 GROUP BY job.pk_show, job.pk_facility, layer.str_tags
