-- Hosts by allocation and what they are up to, and those that say UP and report no more.
-- $1 facilities, $2 seconds after which a report is old. Rows: one per allocation and condition.
-- Locks: none.
SELECT alloc.str_name::text AS alloc,
       CASE WHEN stat.pk_host IS NULL THEN 'without state'
            WHEN stat.str_state = 'UP' AND host.str_lock_state = 'OPEN' THEN 'up'
            WHEN stat.str_state = 'UP' THEN 'locked'
            ELSE lower(stat.str_state) END AS condition,
       count(*) AS hosts,
       coalesce(array_agg(host.str_name::text ORDER BY host.str_name) FILTER (
           WHERE stat.str_state = 'UP' AND stat.ts_ping < current_timestamp - make_interval(secs => $2::float8)), '{}')
           AS stale
  FROM host
  JOIN alloc ON alloc.pk_alloc = host.pk_alloc
  LEFT JOIN host_stat AS stat ON stat.pk_host = host.pk_host
 WHERE alloc.pk_facility = ANY ($1)
 GROUP BY 1, 2
 ORDER BY 1, 2
