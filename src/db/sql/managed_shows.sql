-- Which of some shows are flagged for a scheduler; only for schemas that have the flag.
-- $1 shows. Locks: none.
SELECT pk_show FROM show WHERE pk_show = ANY ($1::text[]) AND b_scheduler_managed
