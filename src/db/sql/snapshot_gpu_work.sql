-- GPU work that some allocations have seen in the last day, of whatever show, by what its layers ask for.
-- Parameters: $1 allocation ids, $2 whether to look at frames too, not only at what runs now.
-- Rows: one per allocation and ask, with the moment at which such a frame last ran there. Locks: none.
-- Frames are those of GPU layers of jobs that are pending or were so in the last day, by the layers' own
-- index: with $2 the statement is for a look now and then, without it for every pass.
SELECT seen.pk_alloc::text AS pk_alloc,
       layer.int_cores_min::int8 AS int_cores_min,
       layer.int_mem_min::int8 AS int_mem_min,
       layer.int_gpus_min::int8 AS int_gpus_min,
       layer.int_gpu_mem_min::int8 AS int_gpu_mem_min,
       LEAST(max(seen.last), now()) AS last_seen
  FROM (
       SELECT host.pk_alloc, proc.pk_layer, now() AS last
         FROM proc
         JOIN host ON host.pk_host = proc.pk_host
        WHERE host.pk_alloc = ANY ($1)
          AND (proc.int_gpus_reserved > 0 OR proc.int_gpu_mem_reserved > 0)
        UNION ALL
       SELECT host.pk_alloc, ran.pk_layer, runs.last
         FROM job
         JOIN layer AS ran ON ran.pk_job = job.pk_job AND (ran.int_gpus_min > 0 OR ran.int_gpu_mem_min > 0)
        CROSS JOIN LATERAL (
              SELECT frame.str_host, max(COALESCE(frame.ts_stopped, frame.ts_started)) AS last
                FROM frame
               WHERE frame.pk_layer = ran.pk_layer
                 AND frame.ts_started > now() - interval '1 day'
               GROUP BY frame.str_host
              ) AS runs
         JOIN host ON host.str_name = runs.str_host
        WHERE $2
          AND (job.str_state = 'PENDING' OR job.ts_stopped > now() - interval '1 day')
          AND host.pk_alloc = ANY ($1)
       ) AS seen
  JOIN layer ON layer.pk_layer = seen.pk_layer
 GROUP BY 1, 2, 3, 4, 5
