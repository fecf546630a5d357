-- Checksums over what can let waiting work start: they differ when it may have changed.
-- Parameters: $1 show ids, $2 facility ids. Rows: one. Locks: none.
-- Sums of row hashes need no order. Numbers of hosts are hashed as numbers, which takes half the time
-- of making text of them. Small tables' whole rows are hashed as text, so that columns of later
-- schemas count too. What every host report rewrites
-- (ping, free memory, load) is left out, or the probe would never rest.
-- ts_start_after is the layer's column where the schema has it; where not, the name finds the NULL
-- of the enclosing row.
SELECT (SELECT format('%s/%s', count(*), sum(hashtext(format('%s %s %s %s %s %s %s %s %s %s %s',
                          job.pk_job, job.b_paused, job.b_auto_book, job.pk_folder,
                          job_stat.int_waiting_count, job_resource.int_priority, job_resource.int_max_cores,
                          job_resource.int_max_gpus, job_resource.int_cores, job_resource.int_gpus, job.str_os))))
          FROM job
          JOIN job_stat ON job_stat.pk_job = job.pk_job
          JOIN job_resource ON job_resource.pk_job = job.pk_job
         WHERE job.str_state = 'PENDING'
           AND job.pk_show = ANY ($1)
           AND job.pk_facility = ANY ($2)) AS jobs,
       (SELECT format('%s/%s', count(*), sum(
                   hashtextextended(host.pk_host, hashint8extended(host.int_cores_idle::int8, hashint8extended(
                       host.int_mem_idle::int8, hashint8extended(host.int_gpus_idle::int8, hashint8extended(
                       host.int_gpu_mem_idle::int8, host.int_thread_mode::int8)))))
                   + hashtext(concat_ws(' ', host.pk_alloc, host.str_lock_state, host_stat.str_state))))
          FROM alloc
          JOIN host ON host.pk_alloc = alloc.pk_alloc
          JOIN host_stat ON host_stat.pk_host = host.pk_host
         WHERE alloc.pk_facility = ANY ($2)) AS hosts,
       format('%s/%s/%s/%s',
              (SELECT sum(hashtext(show::text)) FROM show WHERE show.pk_show = ANY ($1)),
              (SELECT sum(hashtext(subscription::text)) FROM subscription WHERE subscription.pk_show = ANY ($1)),
              (SELECT sum(hashtext(folder_resource::text))
                 FROM folder
                 JOIN folder_resource ON folder_resource.pk_folder = folder.pk_folder
                WHERE folder.pk_show = ANY ($1)),
              (SELECT sum(hashtext(limit_record::text)) FROM limit_record)) AS caps,
       (SELECT next.start
          FROM (SELECT NULL::timestamptz AS ts_start_after) AS absent
         CROSS JOIN LATERAL (
               SELECT ts_start_after AS start FROM layer WHERE ts_start_after > now() ORDER BY ts_start_after LIMIT 1
               ) AS next
       )::text AS next_start
