-- Open rows (stop time 0) stand for running frames: exactly one each.
SELECT coalesce(f.pk_frame, open.pk_frame) AS id,
    format('%s, open history rows %s', coalesce(f.str_name || ' is ' || f.str_state, 'the frame is gone'), coalesce(open.rows, 0)) AS detail
FROM (SELECT pk_frame, count(*) AS rows FROM frame_history WHERE int_ts_stopped = 0 GROUP BY pk_frame) AS open
FULL JOIN (SELECT pk_frame, str_name, str_state FROM frame) AS f ON f.pk_frame = open.pk_frame
WHERE CASE WHEN f.str_state = 'RUNNING' THEN coalesce(open.rows, 0) <> 1 ELSE coalesce(open.rows, 0) <> 0 END
