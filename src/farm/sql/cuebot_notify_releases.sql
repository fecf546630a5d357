-- Tells outside schedulers that procs of their shows are gone, once this transaction commits.
-- $1 procs' hosts, $2 jobs, $3 layers, $4 centicores, $5 GPUs, one each per proc. Whole cores: what a
-- proc has less is lost, as in the original. The original releases each proc in a transaction of its own;
-- of equal notifications within one the server sends one only, so procs that are alike are summed here.
-- Locks: the server's queue of notifications, while committing.
SELECT pg_notify('acct_release', json_build_object(
    'show', j.pk_show, 'alloc', h.pk_alloc, 'folder', j.pk_folder, 'job', j.pk_job, 'layer', released.layer,
    'dept', j.pk_dept, 'cores', -sum(released.cores / 100), 'gpus', -sum(released.gpus))::text)
FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int8[]) AS released (host, job, layer, cores, gpus)
JOIN host h ON h.pk_host = released.host
JOIN job j ON j.pk_job = released.job
GROUP BY h.pk_alloc, j.pk_job, released.layer
