-- The floor of booking, first half: all waiting frames to RUNNING, each on a host, in one statement.
UPDATE frame
SET str_state = 'RUNNING', str_host = placed.host_name, int_cores = 100, int_mem_reserved = 1048576,
    ts_started = current_timestamp, ts_updated = current_timestamp, ts_stopped = NULL, int_version = int_version + 1
FROM (
    SELECT waiting.pk_frame, hosts.str_name AS host_name
    FROM (SELECT pk_frame, row_number() OVER (ORDER BY pk_frame) AS number FROM frame WHERE str_state = 'WAITING') AS waiting
    JOIN (SELECT str_name, row_number() OVER (ORDER BY pk_host) AS number, count(*) OVER () AS hosts FROM host) AS hosts
        ON hosts.number = (waiting.number - 1) % hosts.hosts + 1
) AS placed
WHERE frame.pk_frame = placed.pk_frame
