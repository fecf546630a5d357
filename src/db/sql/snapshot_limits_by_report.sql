-- Limits that can block now, and their use, for schemas with typed limits: what a licence server
-- last reported, plus our procs that it cannot have seen.
-- Parameters: $1 limit ids, $2 settle window in seconds. Rows: these limits, gating or not, so that
-- an id without a row is known to be one. Locks: none.
--
-- Gating: enforced, and never reported or reported within its time to live (a stale report fails
-- open). Pending: procs of bound layers, of any show, local or frameless too, dispatched after the
-- report less the settle window; all of them when nothing was ever reported. A host limit counts
-- hosts, and only those that the report does not name already; it holds its soft value, if one is
-- set, and then not its maximum.
-- The settled part is counted from limit_host: that is what the usage table is refreshed from, and
-- it is right also while no Cuebot refreshes it.
-- Holders that the report names are cut at the first dot, as it names them; those that run bound
-- layers are named in full, since hosts named by address have the part before the first dot in common.
WITH gate AS (
    SELECT limit_record.pk_limit_record,
           limit_record.str_name,
           limit_record.str_type = 'HOST' AS is_host_limit,
           limit_record.int_max_value,
           limit_record.int_soft_value,
           limit_record.ts_reported,
           limit_record.ts_reported - make_interval(secs => $2) AS seen_until,
           limit_record.str_enforcement = 'ENFORCED'
               AND (limit_record.int_report_ttl = 0
                    OR limit_record.ts_reported IS NULL
                    OR limit_record.ts_reported > now() - make_interval(secs => limit_record.int_report_ttl))
               AS is_gating
      FROM limit_record
     WHERE limit_record.pk_limit_record = ANY ($1)
), settled AS (
    SELECT limit_host.pk_limit_record,
           count(*) AS hosts,
           sum(limit_host.int_tokens) AS tokens,
           array_agg(limit_host.str_host_name::text) AS host_names
      FROM limit_host
     WHERE limit_host.pk_limit_record = ANY ($1)
     GROUP BY limit_host.pk_limit_record
), started AS (
    SELECT gate.pk_limit_record,
           proc.pk_host,
           lower(split_part(host.str_name, '.', 1)) AS host_name,
           lower(host.str_name) AS whole_name,
           gate.ts_reported IS NULL OR proc.ts_dispatched > gate.seen_until AS is_unseen
      FROM gate
      JOIN layer_limit ON layer_limit.pk_limit_record = gate.pk_limit_record
      JOIN proc ON proc.pk_layer = layer_limit.pk_layer
      JOIN host ON host.pk_host = proc.pk_host
     WHERE gate.is_gating
), pending AS (
    SELECT started.pk_limit_record,
           count(*) FILTER (WHERE started.is_unseen) AS procs,
           count(DISTINCT started.pk_host) FILTER (WHERE started.is_unseen AND named.pk_limit_record IS NULL) AS hosts,
           array_agg(DISTINCT started.whole_name) AS host_names
      FROM started
      LEFT JOIN limit_host AS named
             ON named.pk_limit_record = started.pk_limit_record AND named.str_host_name = started.host_name
     GROUP BY started.pk_limit_record
)
SELECT gate.pk_limit_record::text AS pk_limit_record,
       gate.str_name::text AS str_name,
       gate.is_gating,
       gate.is_host_limit,
       CASE WHEN gate.is_host_limit AND gate.int_soft_value >= 0 THEN gate.int_soft_value
            ELSE gate.int_max_value END::int8 AS threshold,
       (CASE WHEN gate.ts_reported IS NULL THEN 0
             WHEN gate.is_host_limit THEN COALESCE(settled.hosts, 0)
             ELSE COALESCE(settled.tokens, 0) END
        + CASE WHEN gate.is_host_limit THEN COALESCE(pending.hosts, 0)
               ELSE COALESCE(pending.procs, 0) END)::int8 AS used,
       CASE WHEN gate.is_host_limit
            THEN COALESCE(settled.host_names, '{}') || COALESCE(pending.host_names, '{}')
            ELSE '{}' END AS holders
  FROM gate
  LEFT JOIN settled ON settled.pk_limit_record = gate.pk_limit_record
  LEFT JOIN pending ON pending.pk_limit_record = gate.pk_limit_record
