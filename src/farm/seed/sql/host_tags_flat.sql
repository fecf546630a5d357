-- Rewrites host.str_tags, which Cuebot matches against, from the rows of host_tag.
-- $1 hosts.
SELECT count(*) FROM (SELECT recalculate_tags(pk_host) FROM unnest($1::varchar[]) AS host (pk_host)) AS done
