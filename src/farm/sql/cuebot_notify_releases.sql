-- Tells outside schedulers that procs of their shows are gone, once this transaction commits.
-- $1 procs' hosts, $2 jobs, $3 layers, $4 centicores, $5 GPUs, one each per proc. Whole cores: what is
-- less is lost, as in the original. The original releases each proc in a transaction of its own; within
-- one the server would send equal texts only once, so blanks at the end make them different.
-- Locks: the server's queue of notifications, while committing.
SELECT pg_notify('acct_release', json_build_object(
    'show', j.pk_show, 'alloc', h.pk_alloc, 'folder', j.pk_folder, 'job', j.pk_job, 'layer', released.layer,
    'dept', j.pk_dept, 'cores', -(released.cores / 100), 'gpus', -released.gpus)::text
    || repeat(' ', released.number::int - 1))
FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int8[])
    WITH ORDINALITY AS released (host, job, layer, cores, gpus, number)
JOIN host h ON h.pk_host = released.host
JOIN job j ON j.pk_job = released.job
