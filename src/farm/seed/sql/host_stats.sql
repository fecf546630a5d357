-- What hosts last reported: up since yesterday, just now, everything free. No trigger makes these.
-- $1 keys, $2 hosts, $3 operating systems, $4 memory KiB, $5 GPU memory KiB.
INSERT INTO host_stat (
    pk_host_stat, pk_host, str_os, str_state, int_mem_total, int_mem_free, int_gpu_mem_total, int_gpu_mem_free,
    int_swap_total, int_swap_free, int_mcp_total, int_mcp_free, ts_booted)
SELECT key, host, os, 'UP', memory, memory, gpu_memory, gpu_memory, 0, 0, 104857600, 104857600,
    current_timestamp - interval '1 day'
FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int8[]) AS stat (key, host, os, memory, gpu_memory)
