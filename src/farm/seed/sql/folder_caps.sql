-- Caps of the rows that the folders' trigger made; -1 = no cap.
-- $1 folders, $2 centicores, $3 GPUs.
UPDATE folder_resource fr
SET int_max_cores = caps.cores, int_max_gpus = caps.gpus
FROM unnest($1::text[], $2::int8[], $3::int8[]) AS caps (folder, cores, gpus)
WHERE fr.pk_folder = caps.folder
