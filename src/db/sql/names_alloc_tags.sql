-- Shows with the tags of the allocations that they subscribe to, as show:tag, that begin with $1, at
-- most $2, each once. Rows: these. Locks: none.
SELECT DISTINCT show.str_name || ':' || alloc.str_tag AS name
  FROM subscription
  JOIN show ON show.pk_show = subscription.pk_show
  JOIN alloc ON alloc.pk_alloc = subscription.pk_alloc
 WHERE alloc.str_tag IS NOT NULL
   AND starts_with(show.str_name || ':' || alloc.str_tag, $1)
 ORDER BY 1
 LIMIT $2
