-- GPU work that some allocations have seen in the last day, of whatever show, by what its layers ask for.
-- Parameters: $1 allocation ids, $2 whether jobs count that have ended. Rows: one per allocation and ask, with the
-- moment at which such a frame last ran there. Locks: none.
-- Frames are those of GPU layers of the jobs, by the layers' own index. No index knows when jobs ended, so that $2
-- is for the first look of a process: later ones know what they saw pending.
SELECT host.pk_alloc::text AS pk_alloc,
       ran.int_cores_min::int8 AS int_cores_min,
       ran.int_mem_min::int8 AS int_mem_min,
       ran.int_gpus_min::int8 AS int_gpus_min,
       ran.int_gpu_mem_min::int8 AS int_gpu_mem_min,
       LEAST(max(runs.last), now()) AS last_seen
  FROM (
       SELECT pk_job FROM job WHERE str_state = 'PENDING'
        UNION ALL
       SELECT pk_job FROM job WHERE $2 AND str_state <> 'PENDING' AND ts_stopped > now() - interval '1 day'
       ) AS jobs
  JOIN layer AS ran ON ran.pk_job = jobs.pk_job AND (ran.int_gpus_min > 0 OR ran.int_gpu_mem_min > 0)
 CROSS JOIN LATERAL (
       SELECT frame.str_host, max(COALESCE(frame.ts_stopped, frame.ts_started)) AS last
         FROM frame
        WHERE frame.pk_layer = ran.pk_layer
          AND frame.ts_started > now() - interval '1 day'
        GROUP BY frame.str_host
       ) AS runs
  JOIN host ON host.str_name = runs.str_host
 WHERE host.pk_alloc = ANY ($1)
 GROUP BY 1, 2, 3, 4, 5
