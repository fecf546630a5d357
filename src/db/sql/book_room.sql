-- What is left under every cap that a chunk touches; asked only after one of them refused, to find
-- the requests that still fit. An estimate for the next try, which asks the rows themselves again.
-- $1 hosts, $2 jobs. One row per thing: `kind` says host, subscription, job or folder; `id` is its
-- key, for a subscription the show's; `within` is the allocation of a host or subscription and the
-- folder of a job; an amount is NULL where there is none or no cap. A locked host has no row.
-- No locks.
SELECT 'host' AS kind, h.pk_host::text AS id, h.pk_alloc::text AS within,
    h.int_cores_idle AS cores, h.int_mem_idle AS memory, h.int_gpus_idle AS gpus, h.int_gpu_mem_idle AS gpu_memory
FROM host h
WHERE h.pk_host = ANY ($1::text[]) AND h.str_lock_state = 'OPEN'
UNION ALL
SELECT 'subscription', s.pk_show, s.pk_alloc, s.int_burst - s.int_cores, NULL, NULL, NULL
FROM subscription s
WHERE s.pk_show IN (SELECT j.pk_show FROM job j WHERE j.pk_job = ANY ($2::text[]))
UNION ALL
SELECT 'job', jr.pk_job, j.pk_folder, jr.int_max_cores - jr.int_cores, NULL, jr.int_max_gpus - jr.int_gpus, NULL
FROM job_resource jr
JOIN job j ON j.pk_job = jr.pk_job
WHERE jr.pk_job = ANY ($2::text[])
UNION ALL
SELECT 'folder', fr.pk_folder, NULL,
    CASE WHEN fr.int_max_cores = -1 THEN NULL ELSE fr.int_max_cores - fr.int_cores END, NULL,
    CASE WHEN fr.int_max_gpus = -1 THEN NULL ELSE fr.int_max_gpus - fr.int_gpus END, NULL
FROM folder_resource fr
WHERE fr.pk_folder IN (SELECT j.pk_folder FROM job j WHERE j.pk_job = ANY ($2::text[]))
