-- What some hosts' rows say is taken beyond what procs hold, and each proc that holds something there. One
-- statement, so one snapshot.
-- $1 hosts. One row per host; its procs as arrays side by side. Only hosts that say too much are asked
-- for; rows read are these and their procs. Locks: none.
SELECT h.pk_host,
    (h.int_cores - h.int_cores_idle - least(coalesce(sum(p.int_cores_reserved), 0), h.int_cores))::int8 AS cores,
    (h.int_mem - h.int_mem_idle - least(coalesce(sum(p.int_mem_reserved), 0), h.int_mem))::int8 AS memory,
    (h.int_gpus - h.int_gpus_idle - least(coalesce(sum(p.int_gpus_reserved), 0), h.int_gpus))::int8 AS gpus,
    (h.int_gpu_mem - h.int_gpu_mem_idle - least(coalesce(sum(p.int_gpu_mem_reserved), 0), h.int_gpu_mem))::int8
        AS gpu_memory,
    coalesce(array_agg(p.pk_proc::text) FILTER (WHERE p.pk_proc IS NOT NULL), '{}') AS procs,
    coalesce(array_agg(p.int_cores_reserved::int8) FILTER (WHERE p.pk_proc IS NOT NULL), '{}') AS proc_cores,
    coalesce(array_agg(p.int_mem_reserved::int8) FILTER (WHERE p.pk_proc IS NOT NULL), '{}') AS proc_memory,
    coalesce(array_agg(p.int_gpus_reserved::int8) FILTER (WHERE p.pk_proc IS NOT NULL), '{}') AS proc_gpus,
    coalesce(array_agg(p.int_gpu_mem_reserved::int8) FILTER (WHERE p.pk_proc IS NOT NULL), '{}') AS proc_gpu_memory
FROM host h
LEFT JOIN proc p ON p.pk_host = h.pk_host
WHERE h.pk_host = ANY ($1::text[])
GROUP BY h.pk_host
