-- All hosts of some facilities, in whatever state, with what the machine last reported and what procs of
-- any show hold there: idle amounts may have drifted, either way.
-- Parameters: $1 facility ids. Rows: hosts. Locks: none.
-- A host without host_stat row comes with NULLs and is left out by name.
-- What was booked before the host's last report is told apart: only that can be in the load that it reported.
-- int_concurrent_slots_limit is the host's column where the schema has it; where not, the name finds the NULL
-- of the enclosing row.
SELECT found.*
  FROM (SELECT NULL::int8 AS int_concurrent_slots_limit) AS absent
 CROSS JOIN LATERAL (
SELECT host.pk_host::text AS pk_host,
       host.str_name::text AS str_name,
       host.pk_alloc::text AS pk_alloc,
       alloc.str_name::text AS alloc_name,
       alloc.pk_facility::text AS pk_facility,
       host.str_lock_state::text AS str_lock_state,
       host.int_thread_mode::int8 AS int_thread_mode,
       host.int_cores::int8 AS int_cores,
       host.int_cores_idle::int8 AS int_cores_idle,
       host.int_mem::int8 AS int_mem,
       host.int_mem_idle::int8 AS int_mem_idle,
       host.int_gpus::int8 AS int_gpus,
       host.int_gpus_idle::int8 AS int_gpus_idle,
       host.int_gpu_mem::int8 AS int_gpu_mem,
       host.int_gpu_mem_idle::int8 AS int_gpu_mem_idle,
       host_stat.pk_host IS NOT NULL AS has_stat,
       host_stat.str_state::text AS str_state,
       host_stat.str_os::text AS str_os,
       host_stat.ts_ping AS ts_ping,
       host_stat.int_mem_free::int8 AS int_mem_free,
       host_stat.int_load::int8 AS int_load,
       host_stat.int_gpu_mem_total::int8 AS int_gpu_mem_total,
       host_stat.int_gpu_mem_free::int8 AS int_gpu_mem_free,
       COALESCE(int_concurrent_slots_limit, 0) > 0 AS has_slot_limit,
       EXISTS (SELECT 1 FROM host_local WHERE host_local.pk_host = host.pk_host) AS has_local_work,
       COALESCE(tags.tags, '{}') AS tags,
       COALESCE(running.layers, '{}') AS running_layers,
       COALESCE(running.cores, 0) AS held_cores,
       COALESCE(running.reported_cores, 0) AS reported_cores,
       COALESCE(running.memory, 0) AS held_mem,
       COALESCE(running.gpus, 0) AS held_gpus,
       COALESCE(running.gpu_memory, 0) AS held_gpu_mem
  FROM host
  JOIN alloc ON alloc.pk_alloc = host.pk_alloc
  LEFT JOIN host_stat ON host_stat.pk_host = host.pk_host
  LEFT JOIN (
       SELECT host_tag.pk_host, array_agg(host_tag.str_tag::text) AS tags
         FROM host_tag
        WHERE host_tag.str_tag IS NOT NULL
        GROUP BY host_tag.pk_host
       ) AS tags ON tags.pk_host = host.pk_host
  LEFT JOIN (
       SELECT proc.pk_host,
              array_agg(DISTINCT proc.pk_layer::text) FILTER (WHERE proc.pk_layer IS NOT NULL) AS layers,
              sum(proc.int_cores_reserved)::int8 AS cores,
              sum(proc.int_cores_reserved) FILTER (WHERE proc.ts_booked <= reported.ts_ping)::int8 AS reported_cores,
              sum(proc.int_mem_reserved)::int8 AS memory,
              sum(proc.int_gpus_reserved)::int8 AS gpus,
              sum(proc.int_gpu_mem_reserved)::int8 AS gpu_memory
         FROM proc
         LEFT JOIN host_stat AS reported ON reported.pk_host = proc.pk_host
        GROUP BY proc.pk_host
       ) AS running ON running.pk_host = host.pk_host
 WHERE alloc.pk_facility = ANY ($1)
       ) AS found
