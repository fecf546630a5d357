-- What Cuebot's database gained up to May 2026: proportional set sizes, indexes for live jobs and
-- dependencies, eligibility times and the time span of a layer.

ALTER TABLE layer_mem ADD COLUMN int_max_pss bigint DEFAULT 0;
ALTER TABLE job_mem ADD COLUMN int_max_pss bigint DEFAULT 0;
ALTER TABLE job_resource ADD COLUMN int_max_pss bigint DEFAULT 0;
ALTER TABLE layer_resource ADD COLUMN int_max_pss bigint DEFAULT 0;
ALTER TABLE proc ADD COLUMN int_pss_max_used bigint DEFAULT 0, ADD COLUMN int_pss_used bigint DEFAULT 0;
ALTER TABLE frame ADD COLUMN int_pss_max_used bigint DEFAULT 0, ADD COLUMN int_pss_used bigint DEFAULT 0,
    ADD COLUMN ts_eligible timestamptz(6) DEFAULT NULL;
ALTER TABLE layer ADD COLUMN ts_eligible timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP;
ALTER TABLE job ADD COLUMN ts_eligible timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP;
ALTER TABLE layer_stat ADD COLUMN ts_started timestamptz, ADD COLUMN ts_stopped timestamptz;

CREATE INDEX i_max_pss_layer ON layer_mem (int_max_pss);
CREATE INDEX i_max_pss_job ON job_mem (int_max_pss);
CREATE INDEX i_job_active_pkjob ON job (pk_job) WHERE str_state <> 'FINISHED';
CREATE INDEX i_depend_active_er_job_frame ON depend (pk_job_depend_er, pk_frame_depend_er)
    WHERE b_active = true AND pk_frame_depend_er IS NOT NULL;
CREATE INDEX i_depend_active_er_job_layer ON depend (pk_job_depend_er, pk_layer_depend_er)
    WHERE b_active = true AND pk_frame_depend_er IS NULL AND pk_layer_depend_er IS NOT NULL;
CREATE INDEX i_depend_active_er_job_only ON depend (pk_job_depend_er)
    WHERE b_active = true AND pk_frame_depend_er IS NULL AND pk_layer_depend_er IS NULL;
CREATE INDEX i_frame_depend_candidates ON frame (pk_job, pk_layer, pk_frame)
    WHERE str_state = 'DEPEND' AND int_depend_count > 0;

INSERT INTO task_lock (pk_task_lock, str_name, int_timeout) VALUES
    ('00000000-0000-0000-0000-000000000006', 'LOCK_SUBSCRIPTION_RECALCULATION', 7200),
    ('00000000-0000-0000-0000-000000000007', 'LOCK_STUCK_DEPENDENCY_RECOVERY', 600);

CREATE FUNCTION trigger__set_frame_ts_eligible() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.ts_eligible := current_timestamp;
    RETURN NEW;
END
$$;
CREATE TRIGGER set_frame_ts_eligible_on_insert BEFORE INSERT ON frame FOR EACH ROW
    WHEN (NEW.str_state = 'WAITING' AND NEW.ts_eligible IS NULL)
    EXECUTE FUNCTION trigger__set_frame_ts_eligible();
-- Runs before the dependency triggers, so it stamps a frame that ends in DEPEND as well.
CREATE TRIGGER set_frame_ts_eligible_setup_to_wait BEFORE UPDATE ON frame FOR EACH ROW
    WHEN (OLD.str_state = 'SETUP' AND NEW.str_state = 'WAITING')
    EXECUTE FUNCTION trigger__set_frame_ts_eligible();

CREATE OR REPLACE FUNCTION trigger__update_frame_dep_to_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.str_state := 'WAITING';
    NEW.ts_updated := current_timestamp;
    NEW.ts_eligible := current_timestamp;
    NEW.int_version := NEW.int_version + 1;
    RETURN NEW;
END
$$;

-- Also keeps the first start and the last stop of the layer.
CREATE OR REPLACE FUNCTION trigger__update_frame_status_counts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved text := format('%1$I = %1$I - 1, %2$I = %2$I + 1', 'int_' || lower(OLD.str_state) || '_count',
                         'int_' || lower(NEW.str_state) || '_count');
    span text := CASE WHEN NEW.str_state = 'RUNNING' THEN ', ts_started = coalesce(ts_started, $2, current_timestamp)'
                      WHEN OLD.str_state = 'RUNNING' THEN ', ts_stopped = coalesce($3, current_timestamp)'
                      ELSE '' END;
BEGIN
    EXECUTE 'UPDATE layer_stat SET ' || moved || span || ' WHERE pk_layer = $1'
        USING NEW.pk_layer, NEW.ts_started, NEW.ts_stopped;
    EXECUTE 'UPDATE job_stat SET ' || moved || ' WHERE pk_job = $1' USING NEW.pk_job;
    RETURN NULL;
END
$$;
