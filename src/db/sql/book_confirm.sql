-- The last look before a chunk is committed, under all its locks and after all its waits: jobs that may
-- not start frames any more, and hosts of which more is reserved than they have. The idle amounts alone
-- do not tell: a boot report that races with a booking writes them full again.
-- $1 jobs, $2 hosts, $3 milliseconds. One row per such job or host: `kind` says which; none when all is
-- well. Must be a statement of its own after the hosts' locks, so that it sees what they waited for.
-- Hosts with local work are not judged: local procs draw on host_local and not on the host.
-- The server's limit is $3 from here on, since what follows is COMMIT: to cancel a wait for a standby
-- would report as done what is not.
-- No locks. Reads the procs of the hosts by index.
WITH told AS MATERIALIZED (
    SELECT set_config('statement_timeout', $3::text, true) AS limit_now
),
held AS MATERIALIZED (
    SELECT p.pk_host, sum(p.int_cores_reserved) AS cores, sum(p.int_mem_reserved) AS memory,
        sum(p.int_gpus_reserved) AS gpus, sum(p.int_gpu_mem_reserved) AS gpu_memory, bool_or(p.b_local) AS is_local
    FROM proc p
    WHERE p.pk_host = ANY ($2::text[])
    GROUP BY p.pk_host
)
SELECT 'job' AS kind, j.pk_job::text AS id
FROM job j
WHERE j.pk_job = ANY ($1::text[])
    AND (j.str_state <> 'PENDING' OR j.b_paused OR NOT j.b_auto_book)
    AND (SELECT count(limit_now) FROM told) > 0
UNION ALL
SELECT 'host', h.pk_host::text
FROM held
JOIN host h ON h.pk_host = held.pk_host
WHERE (h.int_cores < held.cores OR h.int_mem < held.memory OR h.int_gpus < held.gpus OR h.int_gpu_mem < held.gpu_memory)
    AND NOT held.is_local
    AND NOT EXISTS (SELECT FROM host_local hl WHERE hl.pk_host = h.pk_host)
