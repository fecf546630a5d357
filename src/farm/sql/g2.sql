-- June 2026: who schedules a show is a flag of the show, and three indexes for an outside scheduler.

ALTER TABLE show ADD COLUMN b_scheduler_managed bool NOT NULL DEFAULT false;

CREATE INDEX idx_layer_tags_array ON layer USING gin (string_to_array(replace(str_tags, ' ', ''), '|'));
CREATE INDEX idx_job_pending_lookup ON job (pk_show, pk_facility, str_state, b_paused)
    WHERE str_state = 'PENDING' AND b_paused = false;
CREATE INDEX idx_layer_stat_waiting ON layer_stat (pk_layer) WHERE int_waiting_count > 0;

-- Leaves shows alone that somebody else schedules.
CREATE OR REPLACE FUNCTION recalculate_subs() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    used record;
BEGIN
    UPDATE subscription SET int_cores = 0, int_gpus = 0
     WHERE pk_show IN (SELECT pk_show FROM show WHERE NOT b_scheduler_managed);
    FOR used IN
        SELECT pk_subscription, int_burst, sum(int_cores_reserved) AS cores, sum(int_gpus_reserved) AS gpus
          FROM proc JOIN host USING (pk_host) JOIN subscription USING (pk_show, pk_alloc) JOIN show USING (pk_show)
         WHERE NOT b_local AND NOT b_scheduler_managed
         GROUP BY pk_subscription, int_burst
    LOOP
        UPDATE subscription SET int_cores = used.cores, int_gpus = used.gpus, int_burst = used.cores
         WHERE pk_subscription = used.pk_subscription;
        UPDATE subscription SET int_burst = used.int_burst WHERE pk_subscription = used.pk_subscription;
    END LOOP;
END
$$;
