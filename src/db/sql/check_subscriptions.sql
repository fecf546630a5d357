-- Subscriptions that let nothing run, or that have no share to be measured by.
-- $1 shows. Rows: such subscriptions. Locks: none.
SELECT format('%s on %s', show.str_name, alloc.str_name) AS name,
       subscription.int_burst <= 0 AS is_frozen
  FROM subscription
  JOIN show ON show.pk_show = subscription.pk_show
  JOIN alloc ON alloc.pk_alloc = subscription.pk_alloc
 WHERE subscription.pk_show = ANY ($1)
   AND (subscription.int_burst <= 0 OR subscription.int_size <= 0)
 ORDER BY show.str_name, alloc.str_name, subscription.pk_subscription
