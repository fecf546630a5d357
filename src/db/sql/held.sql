-- What is held on the hosts of some facilities, and by whose work. A proc is silent when its host has
-- reported long after the proc's last sign of life: every report names what runs. Cuebot may have moved
-- the proc to another frame since, which is a sign too.
-- Parameters: $1 facility ids, $2 seconds by which the host's report must be younger, $3 seconds since the
-- last sign after which a proc without a frame is not just being released. Locks: none.
-- Rows: per host one for the procs that run ("running"), and what nobody's work holds: silent procs
-- ("silent") and procs without a frame ("frameless"), by show, folder, job and layer, and what the host's row
-- says is taken and no proc holds ("no_proc"). Local procs draw on other rows and count as running; where
-- there are any, or host_local rows, nothing is said of the host's row.
-- Reads the hosts of these facilities and their procs, as the snapshot does.
WITH told AS MATERIALIZED (
    SELECT proc.pk_host,
           CASE WHEN proc.b_local THEN 'running'
                WHEN proc.pk_frame IS NULL
                     AND proc.ts_ping < current_timestamp - make_interval(secs => $3::float8) THEN 'frameless'
                WHEN proc.pk_frame IS NOT NULL
                     AND host_stat.ts_ping
                         > GREATEST(proc.ts_ping, proc.ts_dispatched) + make_interval(secs => $2::float8) THEN 'silent'
                ELSE 'running' END AS kind,
           proc.pk_show,
           proc.pk_job,
           proc.pk_layer,
           proc.int_cores_reserved AS cores,
           proc.int_mem_reserved AS memory,
           proc.int_gpus_reserved AS gpus,
           proc.int_gpu_mem_reserved AS gpu_memory,
           extract(epoch FROM current_timestamp - GREATEST(proc.ts_ping, proc.ts_dispatched)) AS seconds,
           proc.b_local
      FROM alloc
      JOIN host ON host.pk_alloc = alloc.pk_alloc
      JOIN proc ON proc.pk_host = host.pk_host
      LEFT JOIN host_stat ON host_stat.pk_host = host.pk_host
     WHERE alloc.pk_facility = ANY ($1)
), by_host AS (
    SELECT told.pk_host,
           sum(told.cores) AS cores,
           sum(told.memory) AS memory,
           sum(told.gpus) AS gpus,
           sum(told.gpu_memory) AS gpu_memory,
           bool_or(told.b_local) AS has_local
      FROM told
     GROUP BY told.pk_host
), no_proc AS (
    SELECT host.pk_host,
           GREATEST(host.int_cores - host.int_cores_idle - LEAST(COALESCE(by_host.cores, 0), host.int_cores), 0)
               AS cores,
           GREATEST(host.int_mem - host.int_mem_idle - LEAST(COALESCE(by_host.memory, 0), host.int_mem), 0)
               AS memory,
           GREATEST(host.int_gpus - host.int_gpus_idle - LEAST(COALESCE(by_host.gpus, 0), host.int_gpus), 0)
               AS gpus,
           GREATEST(host.int_gpu_mem - host.int_gpu_mem_idle
                        - LEAST(COALESCE(by_host.gpu_memory, 0), host.int_gpu_mem), 0) AS gpu_memory
      FROM alloc
      JOIN host ON host.pk_alloc = alloc.pk_alloc
      LEFT JOIN by_host ON by_host.pk_host = host.pk_host
     WHERE alloc.pk_facility = ANY ($1)
       AND by_host.has_local IS NOT TRUE
       AND NOT EXISTS (SELECT 1 FROM host_local WHERE host_local.pk_host = host.pk_host)
)
SELECT held.pk_host::text AS host,
       host.str_name::text AS host_name,
       held.kind AS holder,
       held.pk_show::text AS show,
       job.pk_folder::text AS folder,
       held.pk_job::text AS job,
       held.pk_layer::text AS layer,
       ARRAY (SELECT DISTINCT layer_limit.pk_limit_record::text
                FROM layer_limit
               WHERE layer_limit.pk_layer = held.pk_layer) AS limits,
       held.procs::int8 AS procs,
       held.cores::int8 AS int_cores,
       held.memory::int8 AS int_mem,
       held.gpus::int8 AS int_gpus,
       held.gpu_memory::int8 AS int_gpu_mem,
       held.seconds::int8 AS silent_seconds
  FROM (SELECT told.pk_host, 'running' AS kind, NULL AS pk_show, NULL AS pk_job, NULL AS pk_layer,
               count(*) AS procs, sum(told.cores) AS cores, sum(told.memory) AS memory, sum(told.gpus) AS gpus,
               sum(told.gpu_memory) AS gpu_memory, 0 AS seconds
          FROM told
         WHERE told.kind = 'running'
         GROUP BY told.pk_host
         UNION ALL
        SELECT told.pk_host, told.kind, told.pk_show, told.pk_job, told.pk_layer, count(*), sum(told.cores),
               sum(told.memory), sum(told.gpus), sum(told.gpu_memory), max(told.seconds)
          FROM told
         WHERE told.kind <> 'running'
         GROUP BY told.pk_host, told.kind, told.pk_show, told.pk_job, told.pk_layer
         UNION ALL
        SELECT no_proc.pk_host, 'no_proc', NULL, NULL, NULL, 0, no_proc.cores, no_proc.memory, no_proc.gpus,
               no_proc.gpu_memory, 0
          FROM no_proc
         WHERE (no_proc.cores, no_proc.memory, no_proc.gpus, no_proc.gpu_memory) IS DISTINCT FROM (0, 0, 0, 0)
       ) AS held
  JOIN host ON host.pk_host = held.pk_host
  LEFT JOIN job ON job.pk_job = held.pk_job
 ORDER BY host.str_name, held.kind, held.pk_show, held.pk_job, held.pk_layer
