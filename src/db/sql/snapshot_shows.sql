-- The database's clock, some shows, and what each subscribes to in some facilities.
-- Parameters: $1 show ids, $2 facility ids. Rows: subscriptions, plus shows without one; at least
-- one row, for the clock. Locks: none.
-- The scheduler flag is a column that older schemas lack, hence read through JSON.
SELECT clock.taken_at,
       show.pk_show::text AS pk_show,
       show.str_name::text AS str_name,
       show.b_active,
       (to_jsonb(show) ->> 'b_scheduler_managed')::bool AS is_scheduler_managed,
       held.pk_subscription::text AS pk_subscription,
       held.pk_alloc::text AS pk_alloc,
       held.int_size::int8 AS int_size,
       held.int_burst::int8 AS int_burst,
       held.int_cores::int8 AS int_cores
  FROM (SELECT now() AS taken_at) AS clock
  LEFT JOIN show ON show.pk_show = ANY ($1)
  LEFT JOIN (
       subscription AS held
       JOIN alloc ON alloc.pk_alloc = held.pk_alloc AND alloc.pk_facility = ANY ($2)
       ) ON held.pk_show = show.pk_show
