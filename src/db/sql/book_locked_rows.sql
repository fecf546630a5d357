-- Which rows of a chunk or of bookings to be taken back another session holds right now; asked after
-- a transaction waited in vain.
-- $1 hosts, $2 layers, $3 jobs. One row per thing that is held: `kind` says host, layer, job or
-- subscription; `id` is its key, for a subscription the show's; `within` a subscription's allocation.
-- A row held of a job's folder or department is told as the job's, and so is the job's own.
-- Locks: the rows that nobody holds, without waiting, given back at once as this is a transaction of
-- its own.
WITH touched AS MATERIALIZED (
    SELECT j.pk_job, j.pk_folder, j.pk_show, j.pk_dept FROM job j WHERE j.pk_job = ANY ($3::text[])
),
hosts AS MATERIALIZED (
    SELECT h.pk_host AS id FROM host h WHERE h.pk_host = ANY ($1::text[]) FOR NO KEY UPDATE OF h SKIP LOCKED
),
layer_stats AS MATERIALIZED (
    SELECT ls.pk_layer AS id FROM layer_stat ls WHERE ls.pk_layer = ANY ($2::text[]) FOR NO KEY UPDATE OF ls SKIP LOCKED
),
layer_resources AS MATERIALIZED (
    SELECT lr.pk_layer AS id FROM layer_resource lr WHERE lr.pk_layer = ANY ($2::text[])
    FOR NO KEY UPDATE OF lr SKIP LOCKED
),
job_stats AS MATERIALIZED (
    SELECT js.pk_job AS id FROM job_stat js WHERE js.pk_job = ANY ($3::text[]) FOR NO KEY UPDATE OF js SKIP LOCKED
),
job_resources AS MATERIALIZED (
    SELECT jr.pk_job AS id FROM job_resource jr WHERE jr.pk_job = ANY ($3::text[]) FOR NO KEY UPDATE OF jr SKIP LOCKED
),
jobs AS MATERIALIZED (
    SELECT j.pk_job AS id FROM job j WHERE j.pk_job = ANY ($3::text[]) FOR SHARE OF j SKIP LOCKED
),
folders AS MATERIALIZED (
    SELECT fr.pk_folder_resource AS id FROM folder_resource fr
    WHERE fr.pk_folder = ANY (ARRAY(SELECT touched.pk_folder FROM touched))
    FOR NO KEY UPDATE OF fr SKIP LOCKED
),
points AS MATERIALIZED (
    SELECT pt.pk_point AS id FROM point pt
    WHERE pt.pk_show = ANY (ARRAY(SELECT touched.pk_show FROM touched))
    FOR NO KEY UPDATE OF pt SKIP LOCKED
),
subscriptions AS MATERIALIZED (
    SELECT s.pk_subscription AS id FROM subscription s
    WHERE s.pk_show = ANY (ARRAY(SELECT touched.pk_show FROM touched))
        AND s.pk_alloc = ANY (ARRAY(SELECT h.pk_alloc FROM host h WHERE h.pk_host = ANY ($1::text[])))
    FOR NO KEY UPDATE OF s SKIP LOCKED
)
SELECT 'host' AS kind, h.pk_host::text AS id, NULL::text AS within
FROM host h
WHERE h.pk_host = ANY ($1::text[]) AND h.pk_host <> ALL (ARRAY(SELECT hosts.id FROM hosts))
UNION
SELECT 'layer', ls.pk_layer::text, NULL
FROM layer_stat ls
WHERE ls.pk_layer = ANY ($2::text[]) AND ls.pk_layer <> ALL (ARRAY(SELECT layer_stats.id FROM layer_stats))
UNION
SELECT 'layer', lr.pk_layer::text, NULL
FROM layer_resource lr
WHERE lr.pk_layer = ANY ($2::text[]) AND lr.pk_layer <> ALL (ARRAY(SELECT layer_resources.id FROM layer_resources))
UNION
SELECT 'job', js.pk_job::text, NULL
FROM job_stat js
WHERE js.pk_job = ANY ($3::text[]) AND js.pk_job <> ALL (ARRAY(SELECT job_stats.id FROM job_stats))
UNION
SELECT 'job', jr.pk_job::text, NULL
FROM job_resource jr
WHERE jr.pk_job = ANY ($3::text[]) AND jr.pk_job <> ALL (ARRAY(SELECT job_resources.id FROM job_resources))
UNION
SELECT 'job', touched.pk_job::text, NULL
FROM touched
WHERE touched.pk_job <> ALL (ARRAY(SELECT jobs.id FROM jobs))
UNION
SELECT 'job', touched.pk_job::text, NULL
FROM touched
JOIN folder_resource fr ON fr.pk_folder = touched.pk_folder
WHERE fr.pk_folder_resource <> ALL (ARRAY(SELECT folders.id FROM folders))
UNION
SELECT 'job', touched.pk_job::text, NULL
FROM touched
JOIN point pt ON pt.pk_show = touched.pk_show AND pt.pk_dept = touched.pk_dept
WHERE pt.pk_point <> ALL (ARRAY(SELECT points.id FROM points))
UNION
SELECT 'subscription', s.pk_show::text, s.pk_alloc::text
FROM subscription s
WHERE s.pk_show = ANY (ARRAY(SELECT touched.pk_show FROM touched))
    AND s.pk_alloc = ANY (ARRAY(SELECT h.pk_alloc FROM host h WHERE h.pk_host = ANY ($1::text[])))
    AND s.pk_subscription <> ALL (ARRAY(SELECT subscriptions.id FROM subscriptions))
