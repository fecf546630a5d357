-- Folders; a trigger makes folder_level and folder_resource. Parents first, in a statement of their
-- own, as the trigger looks the parent up.
-- $1 keys, $2 parents, NULL for a root, $3 shows, $4 names, $5 departments.
INSERT INTO folder (pk_folder, pk_parent_folder, pk_show, str_name, pk_dept)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
