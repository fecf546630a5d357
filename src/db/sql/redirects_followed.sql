-- What has become of procs whose orders to go elsewhere were taken away, as Cuebot does first when it
-- carries one out.
-- Parameters: $1 procs, $2 their hosts, $3 jobs and $4 groups that they should go to, one of the two and
-- the other NULL, $5 when the order was last seen. Rows: one for each. `is_held`: the proc is still
-- there; `arrived`: the procs that the destination has got on the host since; `may_run`: something of
-- the destination waits that may go there. Cuebot's tags are patterns in any case; here a tag of the
-- layer in full, in any case, must be one of the host's.
-- Locks: none. Reads proc by host, jobs by key or folder.
SELECT followed.proc,
       EXISTS (SELECT FROM proc WHERE proc.pk_proc = followed.proc) AS is_held,
       ARRAY (SELECT proc.pk_proc::text
                FROM proc
                JOIN job ON job.pk_job = proc.pk_job
               WHERE proc.pk_host = followed.host
                 AND proc.pk_proc <> followed.proc
                 AND proc.ts_booked >= followed.seen_at
                 AND (job.pk_job = followed.job OR job.pk_folder = followed.folder)
               ORDER BY proc.ts_booked, proc.pk_proc) AS arrived,
       EXISTS (SELECT
                 FROM job
                 JOIN layer ON layer.pk_job = job.pk_job
                 JOIN layer_stat ON layer_stat.pk_layer = layer.pk_layer
                 JOIN host ON host.pk_host = followed.host
                 JOIN alloc ON alloc.pk_alloc = host.pk_alloc
                WHERE (job.pk_job = followed.job OR job.pk_folder = followed.folder)
                  AND job.str_state = 'PENDING'
                  AND NOT job.b_paused
                  AND job.pk_facility = alloc.pk_facility
                  AND layer_stat.int_waiting_count > 0
                  AND EXISTS (SELECT
                                FROM host_tag
                               WHERE host_tag.pk_host = host.pk_host
                                 AND lower(host_tag.str_tag) = ANY (
                                         regexp_split_to_array(lower(layer.str_tags), '[|[:space:]]+')))) AS may_run
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
       AS followed (proc, host, job, folder, seen_at)
