-- How far the whole farm is, from the counters that the triggers keep.
-- Rows: one. Locks: none.
SELECT frames.total, frames.waiting, frames.running, frames.done, frames.dead, hosts.total, hosts.busy
  FROM (SELECT coalesce(sum(int_total_count), 0)::int8 AS total,
               coalesce(sum(int_waiting_count + int_depend_count + int_checkpoint_count), 0)::int8 AS waiting,
               coalesce(sum(int_running_count), 0)::int8 AS running,
               coalesce(sum(int_succeeded_count + int_eaten_count), 0)::int8 AS done,
               coalesce(sum(int_dead_count), 0)::int8 AS dead
          FROM layer_stat) AS frames
 CROSS JOIN (SELECT count(*)::int8 AS total, (SELECT count(DISTINCT pk_host) FROM proc)::int8 AS busy
               FROM host) AS hosts
