-- Hosts whose idle amounts are not their total less what procs hold, of whatever show. One statement, so
-- one snapshot: a booking or an ordinary release in flight is either wholly in it or not at all.
-- On a host that holds more than it has, nothing is idle. Hosts that render for their owners draw on
-- other rows as well and are left out: those with host_local rows or local procs.
-- $1 facilities. One row per host: what its row says is taken beyond what procs hold (negative: what
-- procs hold and the row says is idle). Reads the hosts of the facilities and all procs. Locks: none.
WITH held AS MATERIALIZED (
    SELECT pk_host, sum(int_cores_reserved)::int8 AS cores, sum(int_mem_reserved)::int8 AS memory,
        sum(int_gpus_reserved)::int8 AS gpus, sum(int_gpu_mem_reserved)::int8 AS gpu_memory,
        bool_or(b_local) AS has_local
    FROM proc
    GROUP BY pk_host
),
compared AS (
    SELECT h.pk_host, h.str_name,
        h.int_cores - h.int_cores_idle - least(coalesce(held.cores, 0), h.int_cores) AS cores,
        h.int_mem - h.int_mem_idle - least(coalesce(held.memory, 0), h.int_mem) AS memory,
        h.int_gpus - h.int_gpus_idle - least(coalesce(held.gpus, 0), h.int_gpus) AS gpus,
        h.int_gpu_mem - h.int_gpu_mem_idle - least(coalesce(held.gpu_memory, 0), h.int_gpu_mem) AS gpu_memory
    FROM alloc a
    JOIN host h ON h.pk_alloc = a.pk_alloc
    LEFT JOIN held ON held.pk_host = h.pk_host
    WHERE a.pk_facility = ANY ($1::text[])
        AND held.has_local IS NOT TRUE
        AND NOT EXISTS (SELECT FROM host_local hl WHERE hl.pk_host = h.pk_host)
)
SELECT pk_host, str_name::text AS name, cores::int8, memory::int8, gpus::int8, gpu_memory::int8
FROM compared
WHERE (cores, memory, gpus, gpu_memory) IS DISTINCT FROM (0, 0, 0, 0)
ORDER BY str_name
