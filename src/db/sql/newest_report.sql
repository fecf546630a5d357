-- The newest report of any host of some facilities, the database's clock, and since when its server runs:
-- cheap enough for every second. A report from the future (the clock was set back) is no sign of life.
-- $1 facility ids. One row. No locks. Reads the hosts of these facilities.
SELECT current_timestamp AS looked_at, max(host_stat.ts_ping) FILTER (WHERE host_stat.ts_ping <= current_timestamp) AS newest,
    pg_postmaster_start_time() AS server_started
FROM alloc
JOIN host ON host.pk_alloc = alloc.pk_alloc
JOIN host_stat ON host_stat.pk_host = host.pk_host
WHERE alloc.pk_facility = ANY ($1::text[])
