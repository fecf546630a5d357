-- September 2026: limits that know their kind, whose use is reported from outside.

ALTER TABLE limit_record
    ADD COLUMN str_type varchar(16) NOT NULL DEFAULT 'FRAME',
    ADD COLUMN str_enforcement varchar(16) NOT NULL DEFAULT 'ENFORCED',
    ADD COLUMN int_soft_value int NOT NULL DEFAULT -1,
    ADD COLUMN ts_reported timestamptz,
    ADD COLUMN str_report_source varchar(255),
    ADD COLUMN int_report_ttl int NOT NULL DEFAULT 900,
    ADD COLUMN int_exit_status int,
    ADD COLUMN int_delay_minutes int NOT NULL DEFAULT 0,
    ADD COLUMN b_auto_tag bool NOT NULL DEFAULT true,
    ADD CONSTRAINT c_limit_record_pk PRIMARY KEY (pk_limit_record),
    ADD CONSTRAINT c_limit_record_str_name_uk UNIQUE (str_name),
    ADD CONSTRAINT c_limit_record_str_type CHECK (str_type IN ('FRAME', 'HOST')),
    ADD CONSTRAINT c_limit_record_str_enforcement CHECK (str_enforcement IN ('ENFORCED', 'ADVISORY', 'DISABLED')),
    ADD CONSTRAINT c_limit_record_int_exit_status CHECK (int_exit_status > 1),
    ADD CONSTRAINT c_limit_record_int_delay_minutes CHECK (int_delay_minutes >= 0);
CREATE UNIQUE INDEX i_limit_record_int_exit_status ON limit_record (int_exit_status) WHERE int_exit_status IS NOT NULL;

ALTER TABLE layer_limit
    ADD COLUMN str_source varchar(16) NOT NULL DEFAULT 'SPEC',
    ADD COLUMN ts_created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ADD CONSTRAINT c_layer_limit_pk PRIMARY KEY (pk_layer_limit),
    ADD CONSTRAINT c_layer_limit_uk UNIQUE (pk_layer, pk_limit_record),
    ADD CONSTRAINT c_layer_limit_str_source CHECK (str_source IN ('SPEC', 'AUTO', 'MANUAL'));
CREATE INDEX i_layer_limit_record_source ON layer_limit (pk_limit_record, str_source);

-- Which hosts hold a licence by the last report. The name is lower case and ends before the first dot.
CREATE TABLE limit_host (
    pk_limit_host varchar(36) CONSTRAINT c_limit_host_pk PRIMARY KEY,
    pk_limit_record varchar(36) NOT NULL
        CONSTRAINT c_limit_host_pk_limit_record REFERENCES limit_record ON DELETE CASCADE,
    str_host_name varchar(256) NOT NULL, str_reported_name varchar(256) NOT NULL,
    int_tokens int NOT NULL DEFAULT 1 CONSTRAINT c_limit_host_int_tokens CHECK (int_tokens > 0),
    str_user varchar(64), ts_reported timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT c_limit_host_uk UNIQUE (pk_limit_record, str_host_name)
);
CREATE INDEX i_limit_host_str_host_name ON limit_host (str_host_name);

-- The sums of limit_host, as Cuebot refreshes them.
CREATE TABLE limit_usage (
    pk_limit_record varchar(36) CONSTRAINT c_limit_usage_pk PRIMARY KEY
        CONSTRAINT c_limit_usage_pk_limit_record REFERENCES limit_record ON DELETE CASCADE,
    int_settled_usage int NOT NULL DEFAULT 0, int_settled_hosts int NOT NULL DEFAULT 0, ts_watermark timestamptz,
    ts_updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX i_proc_ts_dispatched ON proc (ts_dispatched);

INSERT INTO task_lock (pk_task_lock, str_name, int_timeout) VALUES
    ('00000000-0000-0000-0000-000000000009', 'LOCK_LIMIT_USAGE_RECALCULATION', 60000);
