-- Adds a batch's cores and GPUs to the folders its jobs are in now, where both sums stay within the
-- folder's caps (-1 = no cap; no trigger asks); negative amounts give back and ask no conditions.
-- The folder is looked up here and not brought along, as every release looks it up too: a job that
-- was moved meanwhile must be counted where it will be given back.
-- The jobs are held from here on, so that none is moved to another folder or department before this
-- transaction ends: the triggers that move a job's use read what its counter says as far as anybody has
-- committed, and would leave behind what is being added, or carry away what is being taken off.
-- $1 jobs, $2 centicores, $3 GPUs, each the sum of its job.
-- Returns the jobs whose folder was written.
-- Locks: job, shared, ascending; then folder_resource, ascending. As a move locks them.
WITH jobs AS MATERIALIZED (
    SELECT j.pk_job, j.pk_folder, sums.cores, sums.gpus
    FROM unnest($1::text[], $2::int8[], $3::int8[]) AS sums (job, cores, gpus)
    JOIN job j ON j.pk_job = sums.job
    ORDER BY j.pk_job
    FOR SHARE OF j
),
wanted AS MATERIALIZED (
    SELECT fr.pk_folder_resource, folders.cores, folders.gpus
    FROM (SELECT pk_folder, sum(cores)::int8 AS cores, sum(gpus)::int8 AS gpus FROM jobs GROUP BY pk_folder) AS folders
    JOIN folder_resource fr ON fr.pk_folder = folders.pk_folder
    ORDER BY fr.pk_folder, fr.pk_folder_resource
    FOR NO KEY UPDATE OF fr
),
written AS (
    UPDATE folder_resource fr
    SET int_cores = fr.int_cores + wanted.cores, int_gpus = fr.int_gpus + wanted.gpus
    FROM wanted
    WHERE fr.pk_folder_resource = wanted.pk_folder_resource
        AND (wanted.cores < 0
            OR ((fr.int_max_cores = -1 OR fr.int_cores + wanted.cores <= fr.int_max_cores)
                AND (fr.int_max_gpus = -1 OR wanted.gpus = 0 OR fr.int_gpus + wanted.gpus <= fr.int_max_gpus)))
    RETURNING fr.pk_folder
)
SELECT jobs.pk_job FROM jobs WHERE jobs.pk_folder IN (SELECT pk_folder FROM written)
