-- Layers of pending jobs whose tags no host that their show may use carries, and that Cuebot finds such hosts
-- for: it reads layer.str_tags as a regular expression, in expanded syntax, whatever the case, with the end of
-- a word behind it.
-- Parameters: $1 job ids, $2 show ids: pending jobs of both. Rows: such layers, each with at most three of the
-- tags that are found, the shortest first. Locks: none.
-- Only text without any other sign of regular expressions than . | and # is read so, since a text that is no
-- regular expression would end the statement.
WITH asked AS MATERIALIZED (
    SELECT job.pk_show, job.pk_facility, job.str_name AS job_name, layer.pk_layer, layer.str_name, layer.str_tags
      FROM job
      JOIN layer ON layer.pk_job = job.pk_job
     WHERE job.str_state = 'PENDING'
       AND (job.pk_job = ANY ($1) OR job.pk_show = ANY ($2))
), carried AS MATERIALIZED (
    SELECT DISTINCT subscription.pk_show, alloc.pk_facility, host_tag.str_tag::text AS str_tag
      FROM (SELECT DISTINCT asked.pk_show FROM asked) AS shows
      JOIN subscription ON subscription.pk_show = shows.pk_show
      JOIN alloc ON alloc.pk_alloc = subscription.pk_alloc
      JOIN host ON host.pk_alloc = alloc.pk_alloc
      JOIN host_tag ON host_tag.pk_host = host.pk_host
     WHERE btrim(host_tag.str_tag) <> ''
), found AS MATERIALIZED (
    SELECT DISTINCT asked.pk_layer
      FROM asked
     CROSS JOIN LATERAL regexp_split_to_table(regexp_replace(asked.str_tags, '\s', '', 'g'), '\|') AS one (str_tag)
      JOIN carried ON carried.pk_show = asked.pk_show
                  AND carried.pk_facility = asked.pk_facility
                  AND carried.str_tag = one.str_tag
)
SELECT show.str_name::text AS show,
       asked.job_name::text AS job_name,
       asked.pk_layer::text AS layer,
       asked.str_name::text AS layer_name,
       asked.str_tags::text AS tags,
       near.tags AS near
  FROM asked
  JOIN show ON show.pk_show = asked.pk_show
  LEFT JOIN found ON found.pk_layer = asked.pk_layer
 CROSS JOIN LATERAL (
       SELECT array_agg(first.str_tag) AS tags
         FROM (SELECT carried.str_tag
                 FROM carried
                WHERE carried.pk_show = asked.pk_show
                  AND carried.pk_facility = asked.pk_facility
                  AND CASE WHEN found.pk_layer IS NULL AND asked.str_tags ~ '^[\w\s.|#,:-]*$'
                           THEN carried.str_tag ~* ('(?x)' || asked.str_tags) END
                ORDER BY length(carried.str_tag), carried.str_tag
                LIMIT 3) AS first
       ) AS near
 WHERE found.pk_layer IS NULL
   AND near.tags IS NOT NULL
 ORDER BY show.str_name, asked.job_name, asked.str_name, asked.pk_layer
