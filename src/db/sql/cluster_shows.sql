-- All shows with the allocations they subscribe to.
-- Rows: shows. Locks: none.
-- b_scheduler_managed is the column of show where the schema has it; where not, the name finds the
-- NULL of the enclosing row, so one statement serves every generation.
SELECT found.*
  FROM (SELECT NULL::boolean AS b_scheduler_managed) AS absent
 CROSS JOIN LATERAL (
       SELECT show.pk_show::text AS pk_show,
              show.str_name::text AS str_name,
              show.b_active,
              b_scheduler_managed,
              EXISTS (SELECT 1 FROM job WHERE job.pk_show = show.pk_show AND job.str_state = 'PENDING')
                  AS has_pending_jobs,
              ARRAY (SELECT subscription.pk_alloc::text
                       FROM subscription
                      WHERE subscription.pk_show = show.pk_show) AS allocs
         FROM show
       ) AS found
