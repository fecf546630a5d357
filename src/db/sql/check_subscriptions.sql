-- Subscriptions that let nothing run, that have no share to be measured by, or of less than one core.
-- $1 shows. Rows: such subscriptions. Locks: none.
SELECT format('%s on %s', show.str_name, alloc.str_name) AS name,
       subscription.int_size::int8 AS size,
       subscription.int_burst::int8 AS burst
  FROM subscription
  JOIN show ON show.pk_show = subscription.pk_show
  JOIN alloc ON alloc.pk_alloc = subscription.pk_alloc
 WHERE subscription.pk_show = ANY ($1)
   AND (subscription.int_burst < 100 OR subscription.int_size < 100)
 ORDER BY show.str_name, alloc.str_name, subscription.pk_subscription
