-- Names of the hosts that are up and report, by name.
-- $1 facilities, $2 seconds after which a report is old. Rows: such hosts. Locks: none.
SELECT host.str_name::text AS name
  FROM host
  JOIN alloc ON alloc.pk_alloc = host.pk_alloc
  JOIN host_stat AS stat ON stat.pk_host = host.pk_host
 WHERE alloc.pk_facility = ANY ($1)
   AND stat.str_state = 'UP'
   AND stat.ts_ping >= current_timestamp - make_interval(secs => $2::float8)
 ORDER BY host.str_name
