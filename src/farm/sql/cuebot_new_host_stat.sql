-- The row of a new host's measurements, which the report that created it fills.
-- $1 key of the row, $2 host.
INSERT INTO host_stat (pk_host_stat, pk_host) VALUES ($1, $2)
