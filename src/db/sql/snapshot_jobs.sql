-- Jobs with their caps and use, and the folders they stand in.
-- Parameters: $1 job ids. Rows: jobs. Locks: none.
-- A folder should have one folder_resource row, but nothing makes it so; each surplus row repeats
-- the folder's jobs and is named by the reader. The row that the folder's trigger made comes first.
SELECT job.pk_job::text AS pk_job,
       job.str_name::text AS str_name,
       job.pk_show::text AS pk_show,
       job.pk_facility::text AS pk_facility,
       job.b_paused,
       job.b_auto_book,
       job.str_os::text AS str_os,
       job.ts_started,
       job_resource.pk_job IS NOT NULL AS has_resource,
       job_resource.int_priority::int8 AS int_priority,
       job_resource.int_cores::int8 AS int_cores,
       job_resource.int_max_cores::int8 AS int_max_cores,
       job_resource.int_gpus::int8 AS int_gpus,
       job_resource.int_max_gpus::int8 AS int_max_gpus,
       job.pk_folder::text AS pk_folder,
       folder.str_name::text AS folder_name,
       folder_resource.pk_folder_resource::text AS pk_folder_resource,
       folder_resource.int_cores::int8 AS folder_cores,
       folder_resource.int_max_cores::int8 AS folder_max_cores,
       folder_resource.int_gpus::int8 AS folder_gpus,
       folder_resource.int_max_gpus::int8 AS folder_max_gpus
  FROM job
  LEFT JOIN job_resource ON job_resource.pk_job = job.pk_job
  LEFT JOIN folder ON folder.pk_folder = job.pk_folder
  LEFT JOIN folder_resource ON folder_resource.pk_folder = job.pk_folder
 WHERE job.pk_job = ANY ($1)
 ORDER BY folder_resource.pk_folder_resource <> folder_resource.pk_folder, folder_resource.pk_folder_resource
