-- Adds ended runs to the totals of their layers.
-- $1 layers, $2 runs succeeded, $3 their core seconds, $4 their clock seconds, $5 their GPU seconds,
-- $6 to $9 the same of failed runs, $10 longest and $11 shortest successful run in
-- seconds (0: none). Locks: layer_usage, ascending.
WITH held AS MATERIALIZED (
    SELECT lu.pk_layer_usage, given.*
    FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int4[], $5::int8[], $6::int4[], $7::int8[], $8::int4[],
            $9::int8[], $10::int4[], $11::int4[])
        AS given (layer, good, good_core_time, good_clock_time, good_gpu_time, bad, bad_core_time, bad_clock_time,
            bad_gpu_time, longest, shortest)
    JOIN layer_usage lu ON lu.pk_layer = given.layer
    ORDER BY lu.pk_layer
    FOR NO KEY UPDATE OF lu
)
UPDATE layer_usage lu
SET int_frame_success_count = lu.int_frame_success_count + held.good,
    int_core_time_success = lu.int_core_time_success + held.good_core_time,
    int_clock_time_success = lu.int_clock_time_success + held.good_clock_time,
    int_gpu_time_success = lu.int_gpu_time_success + held.good_gpu_time,
    int_frame_fail_count = lu.int_frame_fail_count + held.bad,
    int_core_time_fail = lu.int_core_time_fail + held.bad_core_time,
    int_clock_time_fail = lu.int_clock_time_fail + held.bad_clock_time,
    int_gpu_time_fail = lu.int_gpu_time_fail + held.bad_gpu_time,
    int_clock_time_high = greatest(lu.int_clock_time_high, held.longest),
    int_clock_time_low = CASE WHEN lu.int_clock_time_low = 0 THEN held.shortest
        WHEN held.shortest = 0 THEN lu.int_clock_time_low
        ELSE least(lu.int_clock_time_low, held.shortest) END
FROM held
WHERE lu.pk_layer_usage = held.pk_layer_usage
