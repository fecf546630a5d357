-- Writes what hosts report of themselves.
-- $1 names, $2 total and $3 free memory, $4 total and $5 free swap, $6 total and $7 free temporary disk, all KiB,
-- $8 load, $9 operating systems, $10 total and $11 free GPU memory KiB, $12 states, $13 boot times in epoch
-- seconds. One row per host that is known. A host in repair stays in repair.
-- Locks: host_stat, ascending.
WITH held AS MATERIALIZED (
    SELECT hs.pk_host_stat, reported.*
    FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[],
            $9::text[], $10::int8[], $11::int8[], $12::text[], $13::int8[])
        AS reported (name, mem_total, mem_free, swap_total, swap_free, mcp_total, mcp_free, load, os, gpu_mem_total,
            gpu_mem_free, state, booted)
    JOIN host h ON h.str_name = reported.name
    JOIN host_stat hs ON hs.pk_host = h.pk_host
    ORDER BY hs.pk_host_stat
    FOR NO KEY UPDATE OF hs
)
UPDATE host_stat hs
SET int_mem_total = held.mem_total,
    int_mem_free = held.mem_free,
    int_swap_total = held.swap_total,
    int_swap_free = held.swap_free,
    int_mcp_total = held.mcp_total,
    int_mcp_free = held.mcp_free,
    int_load = held.load,
    str_os = held.os,
    int_gpu_mem_total = held.gpu_mem_total,
    int_gpu_mem_free = held.gpu_mem_free,
    str_state = CASE WHEN hs.str_state = 'REPAIR' THEN hs.str_state ELSE held.state END,
    ts_booted = to_timestamp(held.booted),
    ts_ping = current_timestamp
FROM held
WHERE hs.pk_host_stat = held.pk_host_stat
RETURNING held.name, hs.pk_host
