-- Second step of repairing a point's counter: what the procs of the show's jobs in the
-- department hold.
-- Must be a statement of its own after the lock, in READ COMMITTED: summing first and locking then
-- would lose a booking that commits in between.
-- A counter that is too low becomes what the procs hold. One that is too high is lowered by no more
-- than is allowed, nor than is left of the surplus without what procs held that are gone: whoever
-- deleted those may still be about to subtract them. Nor is it made to say less than its jobs' own
-- counters together: a job that is moved takes along what its counter says, be it too much, and would
-- leave too little behind. Jobs that finished over a day ago do not count here, as nobody compares them.
-- $1 the row. $2 centicores and $3 GPUs to lower it by at most; NULL is no bound. $4 centicores and $5
-- GPUs of procs that are known to be gone. $6 procs that were there when that was found, $7 their
-- centicores, $8 their GPUs: those of them that are gone by now are added to it.
-- Returns what the row counts now and what the procs hold. Locks: none new.
WITH counted AS MATERIALIZED (
    SELECT p.pk_proc, p.int_cores_reserved AS cores, p.int_gpus_reserved AS gpus
    FROM point own
    JOIN job j ON j.pk_show = own.pk_show AND j.pk_dept = own.pk_dept
    JOIN proc p ON p.pk_job = j.pk_job AND NOT p.b_local
    WHERE own.pk_point = $1
),
gone AS (
    SELECT coalesce(sum(seen.cores), 0)::int8 AS cores, coalesce(sum(seen.gpus), 0)::int8 AS gpus
    FROM unnest($6::text[], $7::int8[], $8::int8[]) AS seen (proc, cores, gpus)
    WHERE NOT EXISTS (SELECT FROM counted WHERE counted.pk_proc = seen.proc)
),
held AS (
    SELECT coalesce(sum(cores), 0)::int8 AS cores, coalesce(sum(gpus), 0)::int8 AS gpus FROM counted
),
of_jobs AS (
    SELECT coalesce(sum(jr.int_cores), 0)::int8 AS cores, coalesce(sum(jr.int_gpus), 0)::int8 AS gpus
    FROM point own
    JOIN job j ON j.pk_show = own.pk_show AND j.pk_dept = own.pk_dept
    JOIN job_resource jr ON jr.pk_job = j.pk_job
    WHERE own.pk_point = $1
        AND (j.str_state <> 'FINISHED' OR j.ts_stopped > current_timestamp - interval '1 day')
)
UPDATE point pt
SET int_cores = greatest(
        held.cores, pt.int_cores - greatest(0, least(
            $2::int8, pt.int_cores - greatest(held.cores + $4::int8 + gone.cores, of_jobs.cores)))),
    int_gpus = greatest(
        held.gpus, pt.int_gpus - greatest(0, least(
            $3::int8, pt.int_gpus - greatest(held.gpus + $5::int8 + gone.gpus, of_jobs.gpus))))
FROM held, gone, of_jobs
WHERE pt.pk_point = $1
RETURNING pt.int_cores::int8 AS cores, pt.int_gpus::int8 AS gpus, held.cores AS held_cores, held.gpus AS held_gpus
