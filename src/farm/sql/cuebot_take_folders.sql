-- Subtracts released procs from the folders that their jobs are in now.
-- $1 jobs, $2 centicores, $3 GPUs, each the sum of its job. Locks: folder_resource, ascending.
WITH given AS MATERIALIZED (
    SELECT j.pk_folder, sum(jobs.cores)::int8 AS cores, sum(jobs.gpus)::int8 AS gpus
    FROM unnest($1::text[], $2::int8[], $3::int8[]) AS jobs (job, cores, gpus)
    JOIN job j ON j.pk_job = jobs.job
    GROUP BY j.pk_folder
),
held AS MATERIALIZED (
    SELECT fr.pk_folder_resource, given.cores, given.gpus
    FROM given
    JOIN folder_resource fr ON fr.pk_folder = given.pk_folder
    ORDER BY fr.pk_folder, fr.pk_folder_resource
    FOR NO KEY UPDATE OF fr
)
UPDATE folder_resource fr
SET int_cores = fr.int_cores - held.cores, int_gpus = fr.int_gpus - held.gpus
FROM held
WHERE fr.pk_folder_resource = held.pk_folder_resource
