-- Whether a host of this name has reported: it has a row, and says it is up.
-- $1 name. Rows: one. Locks: none.
SELECT EXISTS (SELECT FROM host JOIN host_stat ON host_stat.pk_host = host.pk_host
                WHERE host.str_name = $1 AND host_stat.str_state = 'UP')
