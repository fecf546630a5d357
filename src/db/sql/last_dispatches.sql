-- When each of some shows was last given a frame on each host, of what still holds a proc there.
-- Parameters: $1 show ids. Rows: hosts on which the shows run. Locks: none.
SELECT proc.pk_show::text AS pk_show,
       proc.pk_host::text AS pk_host,
       max(proc.ts_dispatched) AS ts_dispatched
  FROM proc
 WHERE proc.pk_show = ANY ($1)
 GROUP BY proc.pk_show, proc.pk_host
