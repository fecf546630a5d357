-- Cuebot's tables as its database of December 2025 has them, in our own statement, and the rows that it
-- comes with. Cores are centicores, memory is KB of 1,024 bytes, keys are text of up to 36 characters.

-- Stands in for the function of an extension that not every server has installed.
CREATE FUNCTION uuid_generate_v1() RETURNS uuid LANGUAGE sql VOLATILE AS 'SELECT gen_random_uuid()';

CREATE TABLE config (
    pk_config varchar(36) CONSTRAINT c_pk_pkconfig PRIMARY KEY, str_key varchar(36) NOT NULL,
    int_value bigint DEFAULT 0, long_value bigint DEFAULT 0, str_value varchar(255) DEFAULT '',
    b_value bool DEFAULT false, CONSTRAINT c_show_uk UNIQUE (str_key)
);

CREATE TABLE depend (
    pk_depend varchar(36) CONSTRAINT c_depend_pk PRIMARY KEY, pk_parent varchar(36),
    pk_job_depend_on varchar(36) NOT NULL, pk_job_depend_er varchar(36) NOT NULL, pk_frame_depend_on varchar(36),
    pk_frame_depend_er varchar(36), pk_layer_depend_on varchar(36), pk_layer_depend_er varchar(36),
    str_type varchar(36) NOT NULL, b_active bool NOT NULL DEFAULT true, b_any bool NOT NULL DEFAULT false,
    ts_created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, ts_satisfied timestamp,
    str_target varchar(20) NOT NULL DEFAULT 'Internal', str_signature varchar(36) NOT NULL,
    b_composite bool NOT NULL DEFAULT false
);

CREATE TABLE dept (
    pk_dept varchar(36) CONSTRAINT c_dept_pk PRIMARY KEY, str_name varchar(36) NOT NULL,
    b_default bool NOT NULL DEFAULT false
);

CREATE TABLE facility (
    pk_facility varchar(36) CONSTRAINT c_facility_pk PRIMARY KEY, str_name varchar(36) NOT NULL,
    b_default bool NOT NULL DEFAULT false
);

CREATE TABLE alloc (
    pk_alloc varchar(36) CONSTRAINT c_alloc_pk PRIMARY KEY, str_name varchar(36) NOT NULL,
    b_allow_edit bool NOT NULL DEFAULT true, b_default bool NOT NULL DEFAULT false, str_tag varchar(24),
    b_billable bool NOT NULL DEFAULT true,
    pk_facility varchar(36) NOT NULL CONSTRAINT c_alloc_pk_facility REFERENCES facility,
    b_enabled bool DEFAULT true, CONSTRAINT c_alloc_name_uniq UNIQUE (str_name)
);

CREATE TABLE history_period (
    pk varchar(36) DEFAULT uuid_generate_v1() CONSTRAINT c_history_period_pk PRIMARY KEY,
    dt_begin date NOT NULL DEFAULT to_date('01-JAN-2000', 'DD-MON-YYYY'),
    dt_end date NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE host (
    pk_host varchar(36) CONSTRAINT c_host_pk PRIMARY KEY,
    pk_alloc varchar(36) NOT NULL CONSTRAINT c_host_pk_alloc REFERENCES alloc, str_name varchar(45) NOT NULL,
    str_lock_state varchar(36) NOT NULL, b_nimby bool NOT NULL DEFAULT false,
    ts_created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, int_cores bigint NOT NULL DEFAULT 0,
    int_procs bigint NOT NULL DEFAULT 0, int_cores_idle bigint NOT NULL DEFAULT 0,
    int_mem bigint NOT NULL DEFAULT 0, int_mem_idle bigint NOT NULL DEFAULT 0,
    b_unlock_boot bool NOT NULL DEFAULT false, b_unlock_idle bool NOT NULL DEFAULT false,
    b_reboot_idle bool NOT NULL DEFAULT false, str_tags varchar(128), str_fqdn varchar(128),
    b_comment bool NOT NULL DEFAULT false, int_thread_mode int NOT NULL DEFAULT 0, str_lock_source varchar(128),
    int_gpu_mem bigint NOT NULL DEFAULT 0, int_gpu_mem_idle bigint NOT NULL DEFAULT 0,
    int_gpus bigint NOT NULL DEFAULT 0, int_gpus_idle bigint NOT NULL DEFAULT 0,
    CONSTRAINT c_host_uk UNIQUE (str_name), CONSTRAINT c_str_host_fqdn_uk UNIQUE (str_fqdn)
);

CREATE TABLE deed (
    pk_deed varchar(36) CONSTRAINT c_pk_deed PRIMARY KEY, pk_owner varchar(36) NOT NULL,
    pk_host varchar(36) NOT NULL CONSTRAINT c_deed_pk_host REFERENCES host, b_blackout bool NOT NULL DEFAULT false,
    int_blackout_start int, int_blackout_stop int
);

CREATE TABLE host_stat (
    pk_host_stat varchar(36) CONSTRAINT c_hoststat_pk PRIMARY KEY,
    pk_host varchar(36) NOT NULL CONSTRAINT c_host_stat_pk_host REFERENCES host,
    int_mem_total bigint NOT NULL DEFAULT 0, int_mem_free bigint NOT NULL DEFAULT 0,
    int_swap_total bigint NOT NULL DEFAULT 0, int_swap_free bigint NOT NULL DEFAULT 0,
    int_mcp_total bigint NOT NULL DEFAULT 0, int_mcp_free bigint NOT NULL DEFAULT 0,
    int_load bigint NOT NULL DEFAULT 0, ts_ping timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ts_booted timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, str_state varchar(32) NOT NULL DEFAULT 'UP',
    str_os varchar(32) NOT NULL DEFAULT 'rhel40', int_gpu_mem_total bigint NOT NULL DEFAULT 0,
    int_gpu_mem_free bigint NOT NULL DEFAULT 0, CONSTRAINT c_host_stat_pk_host_uk UNIQUE (pk_host)
);

CREATE TABLE host_tag (
    pk_host_tag varchar(36) CONSTRAINT c_host_tag_pk PRIMARY KEY, pk_host varchar(36) NOT NULL,
    str_tag varchar(45) NOT NULL, str_tag_type varchar(24) NOT NULL DEFAULT 'Hardware',
    b_constant bool NOT NULL DEFAULT false
);

CREATE TABLE layer_limit (
    pk_layer_limit varchar(36) NOT NULL, pk_layer varchar(36) NOT NULL, pk_limit_record varchar(36) NOT NULL
);

CREATE TABLE limit_record (
    pk_limit_record varchar(36) NOT NULL, str_name varchar(255) NOT NULL, int_max_value int,
    b_host_limit bool NOT NULL DEFAULT false
);

CREATE TABLE redirect (
    pk_proc varchar(36) CONSTRAINT c_redirect_pk PRIMARY KEY, str_group_id varchar(36) NOT NULL,
    int_type bigint NOT NULL, str_destination_id varchar(512) NOT NULL, str_name varchar(512) NOT NULL,
    lng_creation_time bigint NOT NULL
);

CREATE TABLE service (
    pk_service varchar(36) CONSTRAINT c_pk_service PRIMARY KEY, str_name varchar(36) NOT NULL,
    b_threadable bool NOT NULL, int_cores_min int NOT NULL, int_mem_min int NOT NULL,
    str_tags varchar(128) NOT NULL, int_cores_max int NOT NULL DEFAULT 0, int_gpu_mem_min bigint NOT NULL DEFAULT 0,
    int_timeout int NOT NULL DEFAULT 0, int_timeout_llu int NOT NULL DEFAULT 0, int_gpus_min int NOT NULL DEFAULT 0,
    int_gpus_max int NOT NULL DEFAULT 0, int_min_memory_increase int NOT NULL DEFAULT 2097152
);

CREATE TABLE show (
    pk_show varchar(36) CONSTRAINT c_show_pk PRIMARY KEY, str_name varchar(512) NOT NULL,
    b_paused bool NOT NULL DEFAULT false, int_default_min_cores int NOT NULL DEFAULT 100,
    int_default_max_cores int NOT NULL DEFAULT 10000, b_booking_enabled bool NOT NULL DEFAULT true,
    b_dispatch_enabled bool NOT NULL DEFAULT true, b_active bool NOT NULL DEFAULT true,
    str_comment_email varchar(1024), int_default_min_gpus int NOT NULL DEFAULT 100,
    int_default_max_gpus int NOT NULL DEFAULT 100000
);

CREATE TABLE filter (
    pk_filter varchar(36) CONSTRAINT c_filter_pk PRIMARY KEY,
    pk_show varchar(36) NOT NULL CONSTRAINT c_filter_pk_show REFERENCES show, str_name varchar(128) NOT NULL,
    str_type varchar(16) NOT NULL, f_order numeric(6,2) NOT NULL DEFAULT 0.0, b_enabled bool NOT NULL DEFAULT true
);

CREATE TABLE folder (
    pk_folder varchar(36) CONSTRAINT c_folder_pk PRIMARY KEY, pk_parent_folder varchar(36),
    pk_show varchar(36) NOT NULL CONSTRAINT c_folder_pk_show REFERENCES show, str_name varchar(36) NOT NULL,
    int_priority bigint NOT NULL DEFAULT 1, b_default bool NOT NULL DEFAULT false,
    pk_dept varchar(36) NOT NULL CONSTRAINT c_folder_pk_dept REFERENCES dept,
    int_job_min_cores int NOT NULL DEFAULT -1, int_job_max_cores int NOT NULL DEFAULT -1,
    int_job_priority int NOT NULL DEFAULT -1, int_min_cores int NOT NULL DEFAULT 0,
    int_max_cores int NOT NULL DEFAULT -1, b_exclude_managed bool NOT NULL DEFAULT false,
    f_order int NOT NULL DEFAULT 0, int_job_min_gpus int NOT NULL DEFAULT -1,
    int_job_max_gpus int NOT NULL DEFAULT -1, int_min_gpus int NOT NULL DEFAULT 0,
    int_max_gpus int NOT NULL DEFAULT -1, CONSTRAINT c_folder_uk UNIQUE (pk_parent_folder, str_name)
);

CREATE TABLE action (
    pk_action varchar(36) CONSTRAINT c_action_pk PRIMARY KEY,
    pk_filter varchar(36) NOT NULL CONSTRAINT c_action_pk_filter REFERENCES filter,
    pk_folder varchar(36) CONSTRAINT c_action_pk_folder REFERENCES folder, str_action varchar(24) NOT NULL,
    str_value_type varchar(24) NOT NULL, str_value varchar(4000), int_value bigint, b_value bool,
    ts_created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, float_value numeric(6,2),
    b_stop bool NOT NULL DEFAULT false
);

CREATE TABLE folder_level (
    pk_folder_level varchar(36) CONSTRAINT c_folder_level_pk PRIMARY KEY,
    pk_folder varchar(36) NOT NULL CONSTRAINT c_folder_level_pk_folder REFERENCES folder,
    int_level bigint NOT NULL DEFAULT 0, CONSTRAINT c_folder_level_uk UNIQUE (pk_folder)
);

CREATE TABLE folder_resource (
    pk_folder_resource varchar(36) CONSTRAINT c_folder_resource_pk PRIMARY KEY,
    pk_folder varchar(36) NOT NULL CONSTRAINT c_folder_resource_pk_folder REFERENCES folder,
    int_cores int NOT NULL DEFAULT 0, int_max_cores int NOT NULL DEFAULT -1, int_min_cores int NOT NULL DEFAULT 0,
    float_tier numeric(16,2) NOT NULL DEFAULT 0, int_gpus int NOT NULL DEFAULT 0,
    int_max_gpus int NOT NULL DEFAULT -1, int_min_gpus int NOT NULL DEFAULT 0
);

CREATE TABLE job (
    pk_job varchar(36) CONSTRAINT c_job_pk PRIMARY KEY,
    pk_folder varchar(36) NOT NULL CONSTRAINT c_job_pk_folder REFERENCES folder,
    pk_show varchar(36) NOT NULL CONSTRAINT c_job_pk_show REFERENCES show, str_name varchar(255) NOT NULL,
    str_visible_name varchar(255), str_shot varchar(64) NOT NULL, str_user varchar(32) NOT NULL,
    str_state varchar(16) NOT NULL, str_log_dir varchar(4000) NOT NULL DEFAULT '', int_uid bigint,
    b_paused bool NOT NULL DEFAULT false, b_autoeat bool NOT NULL DEFAULT false,
    int_frame_count int NOT NULL DEFAULT 0, int_layer_count int NOT NULL DEFAULT 0,
    int_max_retries smallint NOT NULL DEFAULT 3, b_auto_book bool NOT NULL DEFAULT true,
    b_auto_unbook bool NOT NULL DEFAULT true, b_comment bool NOT NULL DEFAULT false, str_email varchar(256),
    pk_facility varchar(36) NOT NULL CONSTRAINT c_job_pk_facility REFERENCES facility,
    pk_dept varchar(36) NOT NULL CONSTRAINT c_job_pk_dept REFERENCES dept,
    ts_started timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, ts_stopped timestamptz,
    int_min_cores int NOT NULL DEFAULT 100, int_max_cores int NOT NULL DEFAULT 20000,
    str_show varchar(512) NOT NULL DEFAULT 'none', ts_updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    str_os varchar(12), int_min_gpus int NOT NULL DEFAULT 0, int_max_gpus int NOT NULL DEFAULT 100000,
    str_loki_url varchar(256), CONSTRAINT c_job_uk UNIQUE (str_visible_name)
);

CREATE TABLE comments (
    pk_comment varchar(36) CONSTRAINT c_comment_pk PRIMARY KEY,
    pk_job varchar(36) CONSTRAINT c_comments_pk_job REFERENCES job,
    pk_host varchar(36) CONSTRAINT c_comments_pk_host REFERENCES host,
    ts_created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, str_user varchar(36) NOT NULL,
    str_subject varchar(128) NOT NULL, str_message varchar(4000) NOT NULL
);

CREATE TABLE host_local (
    pk_host_local varchar(36) CONSTRAINT c_pk_host_local PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_host_local_pk_job REFERENCES job, pk_layer varchar(36),
    pk_frame varchar(36), pk_host varchar(36) NOT NULL CONSTRAINT c_host_local_pk_host REFERENCES host,
    ts_created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, ts_updated timestamptz,
    int_mem_max bigint NOT NULL DEFAULT 0, int_mem_idle bigint NOT NULL DEFAULT 0,
    int_cores_max int NOT NULL DEFAULT 100, int_cores_idle int NOT NULL DEFAULT 100,
    int_threads int NOT NULL DEFAULT 1, float_tier numeric(16,2) NOT NULL DEFAULT 0,
    b_active bool NOT NULL DEFAULT true, str_type varchar(36) NOT NULL, int_gpu_mem_idle bigint NOT NULL DEFAULT 0,
    int_gpu_mem_max bigint NOT NULL DEFAULT 0, int_gpus_idle int NOT NULL DEFAULT 0,
    int_gpus_max int NOT NULL DEFAULT 0
);

CREATE TABLE job_env (
    pk_job_env varchar(36) CONSTRAINT c_job_env_pk PRIMARY KEY,
    pk_job varchar(36) CONSTRAINT c_job_env_pk_job REFERENCES job, str_key varchar(2048), str_value varchar(2048)
);

CREATE TABLE job_history (
    pk_job varchar(36) CONSTRAINT c_job_history_pk PRIMARY KEY,
    pk_show varchar(36) NOT NULL CONSTRAINT c_job_history_pk_show REFERENCES show, str_name varchar(512) NOT NULL,
    str_shot varchar(64) NOT NULL, str_user varchar(36) NOT NULL, int_core_time_success bigint NOT NULL DEFAULT 0,
    int_core_time_fail bigint NOT NULL DEFAULT 0, int_frame_count bigint NOT NULL DEFAULT 0,
    int_layer_count bigint NOT NULL DEFAULT 0, int_waiting_count bigint NOT NULL DEFAULT 0,
    int_dead_count bigint NOT NULL DEFAULT 0, int_depend_count bigint NOT NULL DEFAULT 0,
    int_eaten_count bigint NOT NULL DEFAULT 0, int_succeeded_count bigint NOT NULL DEFAULT 0,
    int_running_count bigint NOT NULL DEFAULT 0, int_max_rss bigint NOT NULL DEFAULT 0,
    b_archived bool NOT NULL DEFAULT false,
    pk_facility varchar(36) NOT NULL CONSTRAINT c_job_history_pk_facility REFERENCES facility,
    pk_dept varchar(36) NOT NULL CONSTRAINT c_job_history_pk_dept REFERENCES dept, int_ts_started int NOT NULL,
    int_ts_stopped int NOT NULL DEFAULT 0, dt_last_modified date NOT NULL,
    int_gpu_time_success bigint NOT NULL DEFAULT 0, int_gpu_time_fail bigint NOT NULL DEFAULT 0,
    int_gpu_mem_max bigint NOT NULL DEFAULT 0
);

CREATE TABLE job_local (
    pk_job_local varchar(36) CONSTRAINT c_pk_job_local PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_job_local_pk_job REFERENCES job,
    pk_host varchar(36) NOT NULL CONSTRAINT c_job_local_pk_host REFERENCES host, str_source varchar(255) NOT NULL,
    ts_created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, int_cores int NOT NULL DEFAULT 0,
    int_max_cores int NOT NULL, int_gpus int NOT NULL DEFAULT 0, int_max_gpus int NOT NULL DEFAULT 0
);

CREATE TABLE job_mem (
    pk_job_mem varchar(36) CONSTRAINT c_job_mem_pk PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_job_mem_pk_job REFERENCES job, int_max_rss bigint NOT NULL DEFAULT 0,
    int_max_vss bigint NOT NULL DEFAULT 0, int_gpu_mem_max bigint NOT NULL DEFAULT 0
);

CREATE TABLE job_post (
    pk_job_post varchar(36) CONSTRAINT c_job_post_pk PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_job_post_pk_job REFERENCES job,
    pk_post_job varchar(36) NOT NULL CONSTRAINT c_job_post_pk_post_job REFERENCES job
);

CREATE TABLE job_resource (
    pk_job_resource varchar(36) CONSTRAINT c_job_resource_pk PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_job_resource_pk_job REFERENCES job,
    int_cores bigint NOT NULL DEFAULT 0, int_max_rss bigint NOT NULL DEFAULT 0,
    int_max_vss bigint NOT NULL DEFAULT 0, int_min_cores int NOT NULL DEFAULT 100,
    int_max_cores int NOT NULL DEFAULT 10000, float_tier numeric(16,2) NOT NULL DEFAULT 0,
    int_priority int NOT NULL DEFAULT 1, int_local_cores int NOT NULL DEFAULT 0, int_gpus int NOT NULL DEFAULT 0,
    int_min_gpus int NOT NULL DEFAULT 0, int_max_gpus int NOT NULL DEFAULT 100,
    int_local_gpus int NOT NULL DEFAULT 0, int_gpu_mem_max bigint NOT NULL DEFAULT 0,
    CONSTRAINT c_job_resource_uk UNIQUE (pk_job)
);

CREATE TABLE job_stat (
    pk_job_stat varchar(36) CONSTRAINT c_job_stat_pk PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_job_stat_pk_job REFERENCES job,
    int_waiting_count bigint NOT NULL DEFAULT 0, int_running_count bigint NOT NULL DEFAULT 0,
    int_dead_count bigint NOT NULL DEFAULT 0, int_depend_count bigint NOT NULL DEFAULT 0,
    int_eaten_count bigint NOT NULL DEFAULT 0, int_succeeded_count bigint NOT NULL DEFAULT 0,
    int_checkpoint_count bigint NOT NULL DEFAULT 0
);

CREATE TABLE job_usage (
    pk_job_usage varchar(36) CONSTRAINT c_job_usage_pk PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_job_usage_pk_job REFERENCES job,
    int_core_time_success bigint NOT NULL DEFAULT 0, int_core_time_fail bigint NOT NULL DEFAULT 0,
    int_frame_success_count int NOT NULL DEFAULT 0, int_frame_fail_count int NOT NULL DEFAULT 0,
    int_clock_time_fail int NOT NULL DEFAULT 0, int_clock_time_high int NOT NULL DEFAULT 0,
    int_clock_time_success int NOT NULL DEFAULT 0, int_gpu_time_success bigint NOT NULL DEFAULT 0,
    int_gpu_time_fail bigint NOT NULL DEFAULT 0, CONSTRAINT c_job_usage_pk_job_uniq UNIQUE (pk_job)
);

CREATE TABLE layer (
    pk_layer varchar(36) CONSTRAINT c_layer_pk PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_layer_pk_job REFERENCES job, str_name varchar(256) NOT NULL,
    str_cmd varchar(4000) NOT NULL, str_range varchar(4000) NOT NULL, int_chunk_size bigint NOT NULL DEFAULT 1,
    int_dispatch_order bigint NOT NULL DEFAULT 1, int_cores_min bigint NOT NULL DEFAULT 100,
    int_mem_min bigint NOT NULL DEFAULT 4194304, str_tags varchar(4000) NOT NULL DEFAULT '',
    str_type varchar(16) NOT NULL, b_threadable bool NOT NULL DEFAULT true,
    str_services varchar(128) NOT NULL DEFAULT 'default', b_optimize bool NOT NULL DEFAULT true,
    int_cores_max int NOT NULL DEFAULT 0, int_gpu_mem_min bigint NOT NULL DEFAULT 0,
    int_timeout int NOT NULL DEFAULT 0, int_timeout_llu int NOT NULL DEFAULT 0,
    int_gpus_min bigint NOT NULL DEFAULT 0, int_gpus_max bigint NOT NULL DEFAULT 0,
    CONSTRAINT c_layer_str_name_unq UNIQUE (str_name, pk_job)
);

CREATE TABLE frame (
    pk_frame varchar(36) CONSTRAINT c_frame_pk PRIMARY KEY,
    pk_layer varchar(36) NOT NULL CONSTRAINT c_frame_pk_layer REFERENCES layer,
    pk_job varchar(36) NOT NULL CONSTRAINT c_frame_pk_job REFERENCES job, str_name varchar(256) NOT NULL,
    str_state varchar(24) NOT NULL, int_number bigint NOT NULL, int_depend_count bigint NOT NULL DEFAULT 0,
    int_exit_status bigint NOT NULL DEFAULT -1, int_retries bigint NOT NULL DEFAULT 0,
    int_mem_reserved bigint NOT NULL DEFAULT 0, int_mem_max_used bigint NOT NULL DEFAULT 0,
    int_mem_used bigint NOT NULL DEFAULT 0, int_dispatch_order bigint NOT NULL DEFAULT 0, str_host varchar(256),
    int_cores int NOT NULL DEFAULT 0, int_layer_order int NOT NULL, ts_started timestamptz, ts_stopped timestamptz,
    ts_last_run timestamptz, ts_updated timestamptz, int_version int DEFAULT 0,
    str_checkpoint_state varchar(12) NOT NULL DEFAULT 'DISABLED', int_checkpoint_count smallint NOT NULL DEFAULT 0,
    int_gpu_mem_reserved bigint NOT NULL DEFAULT 0, int_total_past_core_time int NOT NULL DEFAULT 0,
    ts_llu timestamptz, int_gpu_mem_used bigint NOT NULL DEFAULT 0, int_gpu_mem_max_used bigint NOT NULL DEFAULT 0,
    int_gpus int NOT NULL DEFAULT 0, int_total_past_gpu_time int NOT NULL DEFAULT 0,
    CONSTRAINT c_frame_str_name_unq UNIQUE (str_name, pk_job)
);

CREATE TABLE frame_state_display_overrides (
    pk_frame_override varchar(36) NOT NULL,
    pk_frame varchar(36) NOT NULL CONSTRAINT c_frame_state_display_overrides_pk_frame REFERENCES frame,
    str_frame_state varchar(24) NOT NULL, str_override_text varchar(24) NOT NULL, str_rgb varchar(24) NOT NULL,
    CONSTRAINT c_frame_state_override UNIQUE (pk_frame, str_frame_state)
);

CREATE TABLE layer_env (
    pk_layer_env varchar(36) CONSTRAINT c_layer_env_pk PRIMARY KEY,
    pk_layer varchar(36) CONSTRAINT c_layer_env_pk_layer REFERENCES layer,
    pk_job varchar(36) CONSTRAINT c_layer_env_pk_job REFERENCES job, str_key varchar(2048), str_value varchar(2048)
);

CREATE TABLE layer_history (
    pk_layer varchar(36) CONSTRAINT c_layer_history_pk PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_layer_history_pk_job REFERENCES job_history ON DELETE CASCADE,
    str_name varchar(512) NOT NULL, str_type varchar(16) NOT NULL, int_cores_min bigint NOT NULL DEFAULT 100,
    int_mem_min bigint NOT NULL DEFAULT 4194304, int_core_time_success bigint NOT NULL DEFAULT 0,
    int_core_time_fail bigint NOT NULL DEFAULT 0, int_frame_count bigint NOT NULL DEFAULT 0,
    int_layer_count bigint NOT NULL DEFAULT 0, int_waiting_count bigint NOT NULL DEFAULT 0,
    int_dead_count bigint NOT NULL DEFAULT 0, int_depend_count bigint NOT NULL DEFAULT 0,
    int_eaten_count bigint NOT NULL DEFAULT 0, int_succeeded_count bigint NOT NULL DEFAULT 0,
    int_running_count bigint NOT NULL DEFAULT 0, int_max_rss bigint NOT NULL DEFAULT 0,
    b_archived bool NOT NULL DEFAULT false, dt_last_modified date NOT NULL, str_services varchar(128),
    int_gpus_min int NOT NULL DEFAULT 0, int_gpu_time_success bigint NOT NULL DEFAULT 0,
    int_gpu_time_fail bigint NOT NULL DEFAULT 0, int_gpu_mem_min bigint NOT NULL DEFAULT 0,
    int_gpu_mem_max bigint NOT NULL DEFAULT 0
);

CREATE TABLE frame_history (
    pk_frame_history varchar(36) DEFAULT uuid_generate_v1() CONSTRAINT c_frame_history_pk PRIMARY KEY,
    pk_frame varchar(36) NOT NULL,
    pk_layer varchar(36) NOT NULL CONSTRAINT c_frame_history_pk_layer REFERENCES layer_history ON DELETE CASCADE,
    pk_job varchar(36) NOT NULL CONSTRAINT c_frame_history_pk_job REFERENCES job_history ON DELETE CASCADE,
    str_name varchar(256) NOT NULL, str_state varchar(24) NOT NULL, int_mem_reserved bigint NOT NULL DEFAULT 0,
    int_mem_max_used bigint NOT NULL DEFAULT 0, int_cores int NOT NULL DEFAULT 100,
    str_host varchar(64) DEFAULT NULL, int_exit_status smallint NOT NULL DEFAULT -1,
    pk_alloc varchar(36) CONSTRAINT c_frame_history_pk_alloc REFERENCES alloc, int_ts_started int NOT NULL,
    int_ts_stopped int NOT NULL DEFAULT 0, int_checkpoint_count int NOT NULL DEFAULT 0,
    dt_last_modified date NOT NULL, int_gpus int NOT NULL DEFAULT 0, int_gpu_mem_reserved bigint NOT NULL DEFAULT 0,
    int_gpu_mem_max_used bigint NOT NULL DEFAULT 0
);

CREATE TABLE layer_mem (
    pk_layer_mem varchar(36) CONSTRAINT c_layer_mem_pk PRIMARY KEY,
    pk_job varchar(36) NOT NULL CONSTRAINT c_layer_mem_pk_job REFERENCES job,
    pk_layer varchar(36) NOT NULL CONSTRAINT c_layer_mem_pk_layer REFERENCES layer,
    int_max_rss bigint NOT NULL DEFAULT 0, int_max_vss bigint NOT NULL DEFAULT 0,
    int_gpu_mem_max bigint NOT NULL DEFAULT 0
);

CREATE TABLE layer_output (
    pk_layer_output varchar(36) CONSTRAINT c_pk_layer_output PRIMARY KEY,
    pk_layer varchar(36) NOT NULL CONSTRAINT c_layer_output_pk_layer REFERENCES layer,
    pk_job varchar(36) NOT NULL CONSTRAINT c_layer_output_pk_job REFERENCES job,
    str_filespec varchar(2048) NOT NULL, ser_order serial
);

CREATE TABLE layer_resource (
    pk_layer_resource varchar(36) CONSTRAINT c_layerresource_pk PRIMARY KEY,
    pk_layer varchar(36) NOT NULL CONSTRAINT c_layer_resource_pk_layer REFERENCES layer,
    pk_job varchar(36) NOT NULL CONSTRAINT c_layer_resource_pk_job REFERENCES job,
    int_cores bigint NOT NULL DEFAULT 0, int_max_rss bigint NOT NULL DEFAULT 0,
    int_max_vss bigint NOT NULL DEFAULT 0, int_gpus int NOT NULL DEFAULT 0,
    int_gpu_mem_max bigint NOT NULL DEFAULT 0, CONSTRAINT c_layerresource_uk UNIQUE (pk_layer)
);

CREATE TABLE layer_stat (
    pk_layer_stat varchar(36) CONSTRAINT c_layerstat_pk PRIMARY KEY,
    pk_layer varchar(36) NOT NULL CONSTRAINT c_layer_stat_pk_layer REFERENCES layer,
    pk_job varchar(36) NOT NULL CONSTRAINT c_layer_stat_pk_job REFERENCES job,
    int_total_count bigint NOT NULL DEFAULT 0, int_waiting_count bigint NOT NULL DEFAULT 0,
    int_running_count bigint NOT NULL DEFAULT 0, int_dead_count bigint NOT NULL DEFAULT 0,
    int_depend_count bigint NOT NULL DEFAULT 0, int_eaten_count bigint NOT NULL DEFAULT 0,
    int_succeeded_count bigint NOT NULL DEFAULT 0, int_checkpoint_count bigint NOT NULL DEFAULT 0
);

CREATE TABLE layer_usage (
    pk_layer_usage varchar(36) CONSTRAINT c_layer_usage_pk PRIMARY KEY,
    pk_layer varchar(36) NOT NULL CONSTRAINT c_layer_usage_pk_layer REFERENCES layer,
    pk_job varchar(36) NOT NULL CONSTRAINT c_layer_usage_pk_job REFERENCES job,
    int_core_time_success bigint NOT NULL DEFAULT 0, int_core_time_fail bigint NOT NULL DEFAULT 0,
    int_frame_success_count int NOT NULL DEFAULT 0, int_frame_fail_count int NOT NULL DEFAULT 0,
    int_clock_time_fail int NOT NULL DEFAULT 0, int_clock_time_high int NOT NULL DEFAULT 0,
    int_clock_time_low int NOT NULL DEFAULT 0, int_clock_time_success int NOT NULL DEFAULT 0,
    int_gpu_time_success bigint NOT NULL DEFAULT 0, int_gpu_time_fail bigint NOT NULL DEFAULT 0,
    CONSTRAINT c_layer_usage_pk_layer_uk UNIQUE (pk_layer)
);

CREATE TABLE matcher (
    pk_matcher varchar(36) CONSTRAINT c_matcher_pk PRIMARY KEY,
    pk_filter varchar(36) NOT NULL CONSTRAINT c_matcher_pk_filter REFERENCES filter,
    str_subject varchar(64) NOT NULL, str_match varchar(64) NOT NULL, str_value varchar(6000) NOT NULL,
    ts_created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE owner (
    pk_owner varchar(36) CONSTRAINT c_pk_owner PRIMARY KEY,
    pk_show varchar(36) NOT NULL CONSTRAINT c_owner_pk_show REFERENCES show, str_username varchar(64) NOT NULL,
    ts_created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ts_updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE point (
    pk_point varchar(36) CONSTRAINT c_point_pk PRIMARY KEY,
    pk_dept varchar(36) NOT NULL CONSTRAINT c_point_pk_dept REFERENCES dept,
    pk_show varchar(36) NOT NULL CONSTRAINT c_point_pk_show REFERENCES show, str_ti_task varchar(36),
    int_cores int NOT NULL DEFAULT 0, b_managed bool NOT NULL DEFAULT false, int_min_cores int NOT NULL DEFAULT 0,
    float_tier numeric(16,2) NOT NULL DEFAULT 0, ts_updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    int_gpus int NOT NULL DEFAULT 0, int_min_gpus int NOT NULL DEFAULT 0,
    CONSTRAINT c_point_pk_show_dept UNIQUE (pk_show, pk_dept)
);

CREATE TABLE proc (
    pk_proc varchar(36) CONSTRAINT c_proc_pk PRIMARY KEY,
    pk_host varchar(36) NOT NULL CONSTRAINT c_proc_pk_host REFERENCES host, pk_job varchar(36), pk_show varchar(36),
    pk_layer varchar(36), pk_frame varchar(36) CONSTRAINT c_proc_pk_frame REFERENCES frame,
    int_cores_reserved bigint NOT NULL, int_mem_reserved bigint NOT NULL, int_mem_used bigint NOT NULL DEFAULT 0,
    int_mem_max_used bigint NOT NULL DEFAULT 0, b_unbooked bool NOT NULL DEFAULT false,
    int_mem_pre_reserved bigint NOT NULL DEFAULT 0, int_virt_used bigint NOT NULL DEFAULT 0,
    int_virt_max_used bigint NOT NULL DEFAULT 0, str_redirect varchar(265), b_local bool NOT NULL DEFAULT false,
    ts_ping timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ts_booked timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    ts_dispatched timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, int_gpu_mem_reserved bigint NOT NULL DEFAULT 0,
    int_gpus_reserved int NOT NULL DEFAULT 0, int_gpu_mem_used bigint NOT NULL DEFAULT 0,
    int_gpu_mem_max_used bigint NOT NULL DEFAULT 0, int_gpu_mem_pre_reserved bigint NOT NULL DEFAULT 0,
    bytea_children bytea, int_swap_used bigint NOT NULL DEFAULT 0, CONSTRAINT c_proc_uk UNIQUE (pk_frame)
);

CREATE TABLE show_alias (
    pk_show_alias varchar(36) CONSTRAINT c_show_alias_pk PRIMARY KEY,
    pk_show varchar(36) NOT NULL CONSTRAINT c_show_alias_pk_show REFERENCES show, str_name varchar(16) NOT NULL
);

CREATE TABLE show_service (
    pk_show_service varchar(36) CONSTRAINT c_pk_show_service PRIMARY KEY,
    pk_show varchar(36) NOT NULL CONSTRAINT c_show_service_pk_show REFERENCES show, str_name varchar(36) NOT NULL,
    b_threadable bool NOT NULL, int_cores_min int NOT NULL, int_mem_min int NOT NULL,
    str_tags varchar(128) NOT NULL, int_cores_max int NOT NULL DEFAULT 0, int_gpu_mem_min bigint NOT NULL DEFAULT 0,
    int_timeout int NOT NULL DEFAULT 0, int_timeout_llu int NOT NULL DEFAULT 0, int_gpus_min int NOT NULL DEFAULT 0,
    int_gpus_max int NOT NULL DEFAULT 0, int_min_memory_increase int NOT NULL DEFAULT 2097152
);

CREATE TABLE show_stats (
    pk_show varchar(36) CONSTRAINT c_show_stats_pk PRIMARY KEY, int_frame_insert_count bigint NOT NULL DEFAULT 0,
    int_job_insert_count bigint NOT NULL DEFAULT 0, int_frame_success_count bigint NOT NULL DEFAULT 0,
    int_frame_fail_count bigint NOT NULL DEFAULT 0
);

CREATE TABLE subscription (
    pk_subscription varchar(36) CONSTRAINT c_subscription_pk PRIMARY KEY,
    pk_alloc varchar(36) NOT NULL CONSTRAINT c_subscription_pk_alloc REFERENCES alloc,
    pk_show varchar(36) NOT NULL CONSTRAINT c_subscription_pk_show REFERENCES show,
    int_size bigint NOT NULL DEFAULT 0, int_burst bigint NOT NULL DEFAULT 0, int_cores int NOT NULL DEFAULT 0,
    float_tier numeric(16,2) NOT NULL DEFAULT 0, int_gpus int NOT NULL DEFAULT 0,
    CONSTRAINT c_subscription_uk UNIQUE (pk_show, pk_alloc)
);

CREATE TABLE task (
    pk_task varchar(36) CONSTRAINT c_task_pk PRIMARY KEY,
    pk_point varchar(36) NOT NULL CONSTRAINT c_task_pk_point REFERENCES point, str_shot varchar(36) NOT NULL,
    int_min_cores int NOT NULL DEFAULT 100, int_adjust_cores int NOT NULL DEFAULT 0,
    int_min_gpus int NOT NULL DEFAULT 0, int_adjust_gpus int NOT NULL DEFAULT 0,
    CONSTRAINT c_task_uniq UNIQUE (str_shot, pk_point)
);

CREATE TABLE task_lock (
    pk_task_lock varchar(36) CONSTRAINT c_task_lock_pk PRIMARY KEY, str_name varchar(36) NOT NULL,
    int_lock bigint NOT NULL DEFAULT 0, int_timeout bigint NOT NULL DEFAULT 30,
    ts_lastrun timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);

-- The numbers behind these keys are what Cuebot's later migrations go on counting from.
INSERT INTO task_lock (pk_task_lock, str_name, int_timeout) VALUES
    ('00000000-0000-0000-0000-000000000001', 'LOCK_HARDWARE_STATE_CHECK', 30),
    ('00000000-0000-0000-0000-000000000002', 'LOCK_HISTORICAL_TRANSFER', 3600),
    ('00000000-0000-0000-0000-000000000003', 'LOCK_ORPHANED_PROC_CHECK', 30),
    ('00000000-0000-0000-0000-000000000005', 'LOCK_TASK_UPDATE', 3600);

INSERT INTO config (pk_config, str_key, int_value) VALUES
    ('00000000-0000-0000-0000-000000000000', 'MAX_FRAME_RETRIES', 16);
