-- August 2026: layers that may not start before a time.

ALTER TABLE layer ADD COLUMN ts_start_after timestamptz(6) DEFAULT NULL,
    ADD COLUMN str_start_after_reason varchar(255) DEFAULT NULL;
CREATE INDEX i_layer_start_after ON layer (ts_start_after) WHERE ts_start_after IS NOT NULL;

INSERT INTO task_lock (pk_task_lock, str_name, int_timeout) VALUES
    ('00000000-0000-0000-0000-000000000008', 'LOCK_ORPHANED_FRAME_CHECK', 300000);
