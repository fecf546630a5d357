-- Counter rows into which released procs counted.
-- $1 shows, $2 allocations, $3 folders, $4 jobs, $5 layers, $6 departments, one each per release. One row
-- per release and counter: table, the row's own key, the number of the release from 1. Locks: none.
WITH released AS MATERIALIZED (
    SELECT *
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
        WITH ORDINALITY AS released (show, alloc, folder, job, layer, dept, number)
)
SELECT 'subscription' AS counter, s.pk_subscription AS id, r.number
FROM released r
JOIN subscription s ON s.pk_show = r.show AND s.pk_alloc = r.alloc
UNION ALL
SELECT 'layer_resource', lr.pk_layer_resource, r.number
FROM released r
JOIN layer_resource lr ON lr.pk_layer = r.layer
UNION ALL
SELECT 'job_resource', jr.pk_job_resource, r.number
FROM released r
JOIN job_resource jr ON jr.pk_job = r.job
UNION ALL
SELECT 'folder_resource', fr.pk_folder_resource, r.number
FROM released r
JOIN folder_resource fr ON fr.pk_folder = r.folder
UNION ALL
SELECT 'point', pt.pk_point, r.number
FROM released r
JOIN point pt ON pt.pk_show = r.show AND pt.pk_dept = r.dept
