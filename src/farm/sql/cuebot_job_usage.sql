-- Adds ended runs to the totals of their jobs.
-- $1 jobs, $2 runs succeeded, $3 their core seconds, $4 their clock seconds, $5 their GPU seconds,
-- $6 to $9 the same of failed runs, $10 longest successful run in
-- seconds (0: none). Locks: job_usage, ascending.
WITH held AS MATERIALIZED (
    SELECT ju.pk_job_usage, given.*
    FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int4[], $5::int8[], $6::int4[], $7::int8[], $8::int4[],
            $9::int8[], $10::int4[])
        AS given (job, good, good_core_time, good_clock_time, good_gpu_time, bad, bad_core_time, bad_clock_time,
            bad_gpu_time, longest)
    JOIN job_usage ju ON ju.pk_job = given.job
    ORDER BY ju.pk_job
    FOR NO KEY UPDATE OF ju
)
UPDATE job_usage ju
SET int_frame_success_count = ju.int_frame_success_count + held.good,
    int_core_time_success = ju.int_core_time_success + held.good_core_time,
    int_clock_time_success = ju.int_clock_time_success + held.good_clock_time,
    int_gpu_time_success = ju.int_gpu_time_success + held.good_gpu_time,
    int_frame_fail_count = ju.int_frame_fail_count + held.bad,
    int_core_time_fail = ju.int_core_time_fail + held.bad_core_time,
    int_clock_time_fail = ju.int_clock_time_fail + held.bad_clock_time,
    int_gpu_time_fail = ju.int_gpu_time_fail + held.bad_gpu_time,
    int_clock_time_high = greatest(ju.int_clock_time_high, held.longest)
FROM held
WHERE ju.pk_job_usage = held.pk_job_usage
