-- Counter rows of shows that do not say what the procs say. One statement, so one snapshot: a booking
-- or release in flight is either wholly in it or not at all, and never looks like drift.
-- Local procs count in no counter but the layer's. Jobs that finished over a day ago are left out,
-- as nothing asks for their counters any more and their layers are many.
-- $1 shows. One row per drifting counter: table, the row's own key, its show, and what it says too much
-- (negative: too little).
-- Reads the procs of these shows, their subscriptions, folders, points, and the layers and jobs that
-- are alive. No locks: the finder proposes, repair_lock and repair_set decide.
WITH held AS MATERIALIZED (
    SELECT p.pk_show, h.pk_alloc, p.pk_layer, p.pk_job, j.pk_folder, j.pk_dept, p.b_local,
        p.int_cores_reserved AS cores, p.int_gpus_reserved AS gpus
    FROM proc p
    JOIN host h ON h.pk_host = p.pk_host
    LEFT JOIN job j ON j.pk_job = p.pk_job
    WHERE p.pk_show = ANY ($1::text[])
),
live_job AS MATERIALIZED (
    SELECT pk_job, pk_show
    FROM job
    WHERE pk_show = ANY ($1::text[])
        AND (str_state <> 'FINISHED' OR ts_stopped > current_timestamp - interval '1 day')
)
SELECT 'subscription' AS counter, s.pk_subscription AS id, s.pk_show,
    s.int_cores - coalesce(t.cores, 0)::int8 AS cores, s.int_gpus - coalesce(t.gpus, 0)::int8 AS gpus
FROM subscription s
LEFT JOIN (
    SELECT pk_show, pk_alloc, sum(cores) AS cores, sum(gpus) AS gpus
    FROM held WHERE NOT b_local GROUP BY pk_show, pk_alloc
) AS t USING (pk_show, pk_alloc)
WHERE s.pk_show = ANY ($1::text[]) AND (s.int_cores <> coalesce(t.cores, 0) OR s.int_gpus <> coalesce(t.gpus, 0))
UNION ALL
SELECT 'layer_resource', lr.pk_layer_resource, live_job.pk_show,
    lr.int_cores - coalesce(t.cores, 0)::int8, lr.int_gpus - coalesce(t.gpus, 0)::int8
FROM live_job
JOIN layer_resource lr ON lr.pk_job = live_job.pk_job
LEFT JOIN (SELECT pk_layer, sum(cores) AS cores, sum(gpus) AS gpus FROM held GROUP BY pk_layer) AS t
    ON t.pk_layer = lr.pk_layer
WHERE lr.int_cores <> coalesce(t.cores, 0) OR lr.int_gpus <> coalesce(t.gpus, 0)
UNION ALL
SELECT 'job_resource', jr.pk_job_resource, live_job.pk_show,
    jr.int_cores - coalesce(t.cores, 0)::int8, jr.int_gpus - coalesce(t.gpus, 0)::int8
FROM live_job
JOIN job_resource jr ON jr.pk_job = live_job.pk_job
LEFT JOIN (
    SELECT pk_job, sum(cores) AS cores, sum(gpus) AS gpus FROM held WHERE NOT b_local GROUP BY pk_job
) AS t ON t.pk_job = jr.pk_job
WHERE jr.int_cores <> coalesce(t.cores, 0) OR jr.int_gpus <> coalesce(t.gpus, 0)
UNION ALL
SELECT 'folder_resource', fr.pk_folder_resource, f.pk_show,
    fr.int_cores - coalesce(t.cores, 0)::int8, fr.int_gpus - coalesce(t.gpus, 0)::int8
FROM folder f
JOIN folder_resource fr ON fr.pk_folder = f.pk_folder
LEFT JOIN (
    SELECT pk_folder, sum(cores) AS cores, sum(gpus) AS gpus FROM held WHERE NOT b_local GROUP BY pk_folder
) AS t ON t.pk_folder = fr.pk_folder
WHERE f.pk_show = ANY ($1::text[]) AND (fr.int_cores <> coalesce(t.cores, 0) OR fr.int_gpus <> coalesce(t.gpus, 0))
UNION ALL
SELECT 'point', pt.pk_point, pt.pk_show,
    pt.int_cores - coalesce(t.cores, 0)::int8, pt.int_gpus - coalesce(t.gpus, 0)::int8
FROM point pt
LEFT JOIN (
    SELECT pk_show, pk_dept, sum(cores) AS cores, sum(gpus) AS gpus
    FROM held WHERE NOT b_local GROUP BY pk_show, pk_dept
) AS t USING (pk_show, pk_dept)
WHERE pt.pk_show = ANY ($1::text[]) AND (pt.int_cores <> coalesce(t.cores, 0) OR pt.int_gpus <> coalesce(t.gpus, 0))
