-- For schemas with the flag.
-- $1 shows to be handed to a scheduler.
UPDATE show SET b_scheduler_managed = true WHERE pk_show = ANY ($1::text[])
