-- What some counter rows say, and each proc that counts into them. One statement, so one snapshot: an
-- ordinary booking or release is either wholly in it or not at all.
-- $1 subscriptions, $2 layer_resources, $3 job_resources, $4 folder_resources, $5 points, by their own
-- keys. One row per counter; its procs as arrays side by side, the frame empty where there is none.
-- Only rows that say too much are asked for, and subscriptions whose releases are ours; rows read are
-- these and their procs. Locks: none.
WITH counted AS (
    SELECT 'subscription' AS counter, s.pk_subscription AS id, s.int_cores, s.int_gpus, p.pk_proc, p.pk_frame,
        p.int_cores_reserved, p.int_gpus_reserved
    FROM subscription s
    LEFT JOIN (proc p JOIN host h ON h.pk_host = p.pk_host)
        ON h.pk_alloc = s.pk_alloc AND p.pk_show = s.pk_show AND NOT p.b_local
    WHERE s.pk_subscription = ANY ($1::text[])
    UNION ALL
    SELECT 'layer_resource', lr.pk_layer_resource, lr.int_cores, lr.int_gpus, p.pk_proc, p.pk_frame,
        p.int_cores_reserved, p.int_gpus_reserved
    FROM layer_resource lr
    LEFT JOIN proc p ON p.pk_layer = lr.pk_layer
    WHERE lr.pk_layer_resource = ANY ($2::text[])
    UNION ALL
    SELECT 'job_resource', jr.pk_job_resource, jr.int_cores, jr.int_gpus, p.pk_proc, p.pk_frame,
        p.int_cores_reserved, p.int_gpus_reserved
    FROM job_resource jr
    LEFT JOIN proc p ON p.pk_job = jr.pk_job AND NOT p.b_local
    WHERE jr.pk_job_resource = ANY ($3::text[])
    UNION ALL
    SELECT 'folder_resource', fr.pk_folder_resource, fr.int_cores, fr.int_gpus, p.pk_proc, p.pk_frame,
        p.int_cores_reserved, p.int_gpus_reserved
    FROM folder_resource fr
    LEFT JOIN (job j JOIN proc p ON p.pk_job = j.pk_job AND NOT p.b_local) ON j.pk_folder = fr.pk_folder
    WHERE fr.pk_folder_resource = ANY ($4::text[])
    UNION ALL
    SELECT 'point', pt.pk_point, pt.int_cores, pt.int_gpus, p.pk_proc, p.pk_frame,
        p.int_cores_reserved, p.int_gpus_reserved
    FROM point pt
    LEFT JOIN (job j JOIN proc p ON p.pk_job = j.pk_job AND NOT p.b_local)
        ON j.pk_show = pt.pk_show AND j.pk_dept = pt.pk_dept
    WHERE pt.pk_point = ANY ($5::text[])
)
SELECT counter, id, int_cores::int8 AS cores, int_gpus::int8 AS gpus,
    coalesce(array_agg(pk_proc::text) FILTER (WHERE pk_proc IS NOT NULL), '{}') AS procs,
    coalesce(array_agg(coalesce(pk_frame::text, '')) FILTER (WHERE pk_proc IS NOT NULL), '{}') AS frames,
    coalesce(array_agg(int_cores_reserved::int8) FILTER (WHERE pk_proc IS NOT NULL), '{}') AS proc_cores,
    coalesce(array_agg(int_gpus_reserved::int8) FILTER (WHERE pk_proc IS NOT NULL), '{}') AS proc_gpus
FROM counted
GROUP BY counter, id, int_cores, int_gpus
