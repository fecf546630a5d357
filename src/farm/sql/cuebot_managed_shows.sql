-- Which of some shows an outside scheduler serves; only for schemas that have the flag.
-- $1 shows. No locks.
SELECT pk_show FROM show WHERE pk_show = ANY ($1::text[]) AND b_scheduler_managed
