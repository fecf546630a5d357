-- Folders without a resource row, where no job can be booked, or with several, where jobs count double.
-- $1 shows. Rows: such folders. Locks: none.
SELECT format('%s/%s', show.str_name, folder.str_name) AS name, count(resource.pk_folder_resource) AS resources
  FROM folder
  JOIN show ON show.pk_show = folder.pk_show
  LEFT JOIN folder_resource AS resource ON resource.pk_folder = folder.pk_folder
 WHERE folder.pk_show = ANY ($1)
 GROUP BY show.str_name, folder.pk_folder, folder.str_name
HAVING count(resource.pk_folder_resource) <> 1
 ORDER BY show.str_name, folder.str_name, folder.pk_folder
