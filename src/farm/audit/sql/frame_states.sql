-- Frames by state. No locks.
SELECT str_state::text AS state, count(*) AS frames FROM frame GROUP BY str_state
