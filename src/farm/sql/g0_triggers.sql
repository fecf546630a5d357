-- The effects of Cuebot's triggers, under their names, since triggers of one table run in the order of
-- their names and each sees what those before it changed. All are row triggers; refusals are told
-- apart by their text alone.

CREATE FUNCTION keeps_history() RETURNS bool LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (SELECT FROM config WHERE str_key = 'DISABLE_HISTORY')
$$;

-- frame: which state it really ends in ---------------------------------------------------------------

CREATE FUNCTION trigger__update_frame_checkpoint_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.str_state := 'CHECKPOINT';
    RETURN NEW;
END
$$;
CREATE TRIGGER update_frame_checkpoint_state BEFORE UPDATE ON frame FOR EACH ROW
    WHEN (OLD.str_state = 'RUNNING' AND NEW.str_state = 'WAITING'
          AND NEW.str_checkpoint_state IN ('ENABLED', 'COPYING'))
    EXECUTE FUNCTION trigger__update_frame_checkpoint_state();

-- Whatever state the update asked for.
CREATE FUNCTION trigger__update_frame_dep_to_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.str_state := 'WAITING';
    NEW.ts_updated := current_timestamp;
    NEW.int_version := NEW.int_version + 1;
    RETURN NEW;
END
$$;
CREATE TRIGGER update_frame_dep_to_wait BEFORE UPDATE ON frame FOR EACH ROW
    WHEN (OLD.int_depend_count > 0 AND NEW.int_depend_count < 1 AND OLD.str_state = 'DEPEND')
    EXECUTE FUNCTION trigger__update_frame_dep_to_wait();

CREATE FUNCTION trigger__update_frame_eaten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.str_state := 'SUCCEEDED';
    RETURN NEW;
END
$$;
CREATE TRIGGER update_frame_eaten BEFORE UPDATE ON frame FOR EACH ROW
    WHEN (OLD.str_state = 'SUCCEEDED' AND NEW.str_state = 'EATEN')
    EXECUTE FUNCTION trigger__update_frame_eaten();

CREATE FUNCTION trigger__update_frame_wait_to_dep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.str_state := 'DEPEND';
    NEW.ts_updated := current_timestamp;
    NEW.int_version := NEW.int_version + 1;
    RETURN NEW;
END
$$;
CREATE TRIGGER update_frame_wait_to_dep BEFORE UPDATE ON frame FOR EACH ROW
    WHEN (NEW.int_depend_count > 0 AND NEW.str_state IN ('WAITING', 'DEAD', 'SUCCEEDED', 'CHECKPOINT'))
    EXECUTE FUNCTION trigger__update_frame_wait_to_dep();

-- frame: history and counters ------------------------------------------------------------------------

CREATE FUNCTION trigger__frame_history_open() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT keeps_history() THEN
        RETURN NULL;
    END IF;
    IF OLD.str_state = 'RUNNING' AND NEW.int_exit_status = 299 THEN
        DELETE FROM frame_history WHERE pk_frame = OLD.pk_frame AND int_ts_stopped = 0;
    ELSIF OLD.str_state = 'RUNNING' THEN
        UPDATE frame_history
           SET int_mem_max_used = NEW.int_mem_max_used, int_gpu_mem_max_used = NEW.int_gpu_mem_max_used,
               int_exit_status = NEW.int_exit_status, int_ts_stopped = epoch(current_timestamp),
               int_checkpoint_count = (NEW.str_state = 'CHECKPOINT')::int
         WHERE pk_frame = OLD.pk_frame AND int_ts_stopped = 0;
    ELSIF NEW.str_state = 'RUNNING' THEN
        INSERT INTO frame_history (pk_frame, pk_layer, pk_job, str_name, str_state, int_cores, int_mem_reserved,
                                   int_gpus, int_gpu_mem_reserved, str_host, int_ts_started, pk_alloc)
        VALUES (NEW.pk_frame, NEW.pk_layer, NEW.pk_job, NEW.str_name, 'RUNNING', NEW.int_cores, NEW.int_mem_reserved,
                NEW.int_gpus, NEW.int_gpu_mem_reserved, NEW.str_host, epoch(current_timestamp),
                (SELECT pk_alloc FROM host WHERE str_name = NEW.str_host));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER frame_history_open AFTER UPDATE ON frame FOR EACH ROW
    WHEN (NEW.str_state <> OLD.str_state)
    EXECUTE FUNCTION trigger__frame_history_open();

-- Columns are named after the states, so a state without a counter fails with "column does not exist".
CREATE FUNCTION trigger__update_frame_status_counts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved text := format('%1$I = %1$I - 1, %2$I = %2$I + 1', 'int_' || lower(OLD.str_state) || '_count',
                         'int_' || lower(NEW.str_state) || '_count');
BEGIN
    EXECUTE 'UPDATE layer_stat SET ' || moved || ' WHERE pk_layer = $1' USING NEW.pk_layer;
    EXECUTE 'UPDATE job_stat SET ' || moved || ' WHERE pk_job = $1' USING NEW.pk_job;
    RETURN NULL;
END
$$;
CREATE TRIGGER update_frame_status_counts AFTER UPDATE ON frame FOR EACH ROW
    WHEN (OLD.str_state <> 'SETUP' AND NEW.str_state <> OLD.str_state)
    EXECUTE FUNCTION trigger__update_frame_status_counts();

-- Refusals -------------------------------------------------------------------------------------------

CREATE FUNCTION trigger__before_insert_proc() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'failed to allocate proc, tried to allocate 0 cores';
END
$$;
CREATE TRIGGER before_insert_proc BEFORE INSERT ON proc FOR EACH ROW
    WHEN (NEW.int_cores_reserved <= 0)
    EXECUTE FUNCTION trigger__before_insert_proc();

CREATE FUNCTION trigger__verify_host_resources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.int_cores_idle < 0 THEN
        RAISE EXCEPTION 'unable to allocate additional core units';
    ELSIF NEW.int_mem_idle < 0 THEN
        RAISE EXCEPTION 'unable to allocate additional memory';
    ELSIF NEW.int_gpus_idle < 0 THEN
        RAISE EXCEPTION 'unable to allocate additional GPU units';
    ELSIF NEW.int_gpu_mem_idle < 0 THEN
        RAISE EXCEPTION 'unable to allocate additional GPU memory';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER verify_host_resources BEFORE UPDATE ON host FOR EACH ROW
    WHEN (NEW.int_cores_idle <> OLD.int_cores_idle OR NEW.int_mem_idle <> OLD.int_mem_idle
          OR NEW.int_gpus_idle <> OLD.int_gpus_idle OR NEW.int_gpu_mem_idle <> OLD.int_gpu_mem_idle)
    EXECUTE FUNCTION trigger__verify_host_resources();

-- Either kind rising under an unchanged cap has both caps tested. An update that moves the cap too is let through.
CREATE FUNCTION trigger__verify_job_resources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.int_cores > NEW.int_max_cores THEN
        RAISE EXCEPTION 'job has exceeded max cores';
    ELSIF NEW.int_gpus > NEW.int_max_gpus THEN
        RAISE EXCEPTION 'job has exceeded max GPU units';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER verify_job_resources BEFORE UPDATE ON job_resource FOR EACH ROW
    WHEN ((NEW.int_max_cores = OLD.int_max_cores AND NEW.int_cores > OLD.int_cores)
          OR (NEW.int_max_gpus = OLD.int_max_gpus AND NEW.int_gpus > OLD.int_gpus))
    EXECUTE FUNCTION trigger__verify_job_resources();

CREATE FUNCTION trigger__verify_subscription() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.int_cores > NEW.int_burst THEN
        RAISE EXCEPTION 'subscription has exceeded burst size';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER verify_subscription BEFORE UPDATE ON subscription FOR EACH ROW
    WHEN (NEW.int_burst = OLD.int_burst AND NEW.int_cores > OLD.int_cores)
    EXECUTE FUNCTION trigger__verify_subscription();

CREATE FUNCTION trigger__verify_job_local() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.int_cores > NEW.int_max_cores THEN
        RAISE EXCEPTION 'job local has exceeded max cores';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER verify_job_local BEFORE UPDATE ON job_local FOR EACH ROW
    WHEN (NEW.int_max_cores = OLD.int_max_cores AND NEW.int_cores > OLD.int_cores)
    EXECUTE FUNCTION trigger__verify_job_local();

-- A change of cores or memory alone passes unseen: a GPU column has to change as well.
CREATE FUNCTION trigger__verify_host_local() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.int_cores_idle < 0 THEN
        RAISE EXCEPTION 'host local doesnt have enough idle cores.';
    ELSIF NEW.int_mem_idle < 0 THEN
        RAISE EXCEPTION 'host local doesnt have enough idle memory';
    ELSIF NEW.int_gpus_idle < 0 THEN
        RAISE EXCEPTION 'host local doesnt have enough GPU idle cores.';
    ELSIF NEW.int_gpu_mem_idle < 0 THEN
        RAISE EXCEPTION 'host local doesnt have enough GPU idle memory.';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER verify_host_local BEFORE UPDATE ON host_local FOR EACH ROW
    WHEN (NEW.int_cores_max = OLD.int_cores_max AND NEW.int_mem_max = OLD.int_mem_max
          AND NEW.int_gpus_max = OLD.int_gpus_max AND NEW.int_gpu_mem_max = OLD.int_gpu_mem_max
          AND (NEW.int_cores_idle <> OLD.int_cores_idle OR NEW.int_mem_idle <> OLD.int_mem_idle)
          AND (NEW.int_gpus_idle <> OLD.int_gpus_idle OR NEW.int_gpu_mem_idle <> OLD.int_gpu_mem_idle))
    EXECUTE FUNCTION trigger__verify_host_local();

-- Accounting -----------------------------------------------------------------------------------------

CREATE FUNCTION trigger__upgrade_proc_memory_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE host SET int_mem_idle = int_mem_idle - (NEW.int_mem_reserved - OLD.int_mem_reserved)
     WHERE pk_host = NEW.pk_host;
    RETURN NULL;
END
$$;
CREATE TRIGGER upgrade_proc_memory_usage AFTER UPDATE ON proc FOR EACH ROW
    WHEN (NEW.int_mem_reserved <> OLD.int_mem_reserved)
    EXECUTE FUNCTION trigger__upgrade_proc_memory_usage();

-- The two rows are locked in descending order of their keys.
CREATE FUNCTION trigger__update_proc_update_layer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved record;
BEGIN
    FOR moved IN
        SELECT * FROM (VALUES (OLD.pk_layer, -OLD.int_cores_reserved, -OLD.int_gpus_reserved),
                              (NEW.pk_layer, NEW.int_cores_reserved, NEW.int_gpus_reserved)) AS m (pk_layer, cores, gpus)
         ORDER BY pk_layer DESC
    LOOP
        UPDATE layer_resource SET int_cores = int_cores + moved.cores, int_gpus = int_gpus + moved.gpus
         WHERE pk_layer = moved.pk_layer;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER update_proc_update_layer AFTER UPDATE ON proc FOR EACH ROW
    WHEN (NEW.pk_layer <> OLD.pk_layer)
    EXECUTE FUNCTION trigger__update_proc_update_layer();

-- No cap is tested here and the old folder may go negative.
CREATE FUNCTION trigger__after_job_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    used job_resource;
BEGIN
    SELECT * INTO used FROM job_resource WHERE pk_job = NEW.pk_job;
    IF used.int_cores > 0 THEN
        UPDATE folder_resource SET int_cores = int_cores + used.int_cores WHERE pk_folder = NEW.pk_folder;
        UPDATE folder_resource SET int_cores = int_cores - used.int_cores WHERE pk_folder = OLD.pk_folder;
    END IF;
    IF used.int_gpus > 0 THEN
        UPDATE folder_resource SET int_gpus = int_gpus + used.int_gpus WHERE pk_folder = NEW.pk_folder;
        UPDATE folder_resource SET int_gpus = int_gpus - used.int_gpus WHERE pk_folder = OLD.pk_folder;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER after_job_moved AFTER UPDATE ON job FOR EACH ROW
    WHEN (NEW.pk_folder <> OLD.pk_folder)
    EXECUTE FUNCTION trigger__after_job_moved();

CREATE FUNCTION trigger__after_job_dept_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    used job_resource;
BEGIN
    SELECT * INTO used FROM job_resource WHERE pk_job = NEW.pk_job;
    IF used.int_cores > 0 THEN
        UPDATE point SET int_cores = int_cores + used.int_cores WHERE pk_dept = NEW.pk_dept AND pk_show = NEW.pk_show;
        UPDATE point SET int_cores = int_cores - used.int_cores WHERE pk_dept = OLD.pk_dept AND pk_show = OLD.pk_show;
    END IF;
    IF used.int_gpus > 0 THEN
        UPDATE point SET int_gpus = int_gpus + used.int_gpus WHERE pk_dept = NEW.pk_dept AND pk_show = NEW.pk_show;
        UPDATE point SET int_gpus = int_gpus - used.int_gpus WHERE pk_dept = OLD.pk_dept AND pk_show = OLD.pk_show;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER after_job_dept_update AFTER UPDATE ON job FOR EACH ROW
    WHEN (NEW.pk_dept <> OLD.pk_dept AND NEW.str_state = 'PENDING')
    EXECUTE FUNCTION trigger__after_job_dept_update();

CREATE FUNCTION trigger__tier_subscription() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.float_tier := tier(NEW.int_cores, NEW.int_size);
    RETURN NEW;
END
$$;
CREATE TRIGGER tier_subscription BEFORE UPDATE ON subscription FOR EACH ROW
    EXECUTE FUNCTION trigger__tier_subscription();

CREATE FUNCTION trigger__tier_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.float_tier := tier(NEW.int_cores, NEW.int_min_cores);
    RETURN NEW;
END
$$;
CREATE TRIGGER tier_job BEFORE UPDATE ON job_resource FOR EACH ROW EXECUTE FUNCTION trigger__tier_job();

CREATE FUNCTION trigger__tier_folder() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.float_tier := soft_tier(NEW.int_cores, NEW.int_min_cores);
    RETURN NEW;
END
$$;
CREATE TRIGGER tier_folder BEFORE UPDATE ON folder_resource FOR EACH ROW EXECUTE FUNCTION trigger__tier_folder();
CREATE TRIGGER point_tier BEFORE UPDATE ON point FOR EACH ROW EXECUTE FUNCTION trigger__tier_folder();

CREATE FUNCTION trigger__tier_host_local() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.float_tier := tier(NEW.int_cores_max - NEW.int_cores_idle, NEW.int_cores_max);
    RETURN NEW;
END
$$;
CREATE TRIGGER tier_host_local BEFORE UPDATE ON host_local FOR EACH ROW EXECUTE FUNCTION trigger__tier_host_local();

-- Companion rows -------------------------------------------------------------------------------------

CREATE FUNCTION trigger__before_insert_folder() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.b_default := true;
    RETURN NEW;
END
$$;
CREATE TRIGGER before_insert_folder BEFORE INSERT ON folder FOR EACH ROW
    WHEN (NEW.pk_parent_folder IS NULL)
    EXECUTE FUNCTION trigger__before_insert_folder();

-- A parent that does not exist has no level, and the insert fails on that.
CREATE FUNCTION trigger__after_insert_folder() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO folder_level (pk_folder_level, pk_folder, int_level)
    VALUES (NEW.pk_folder, NEW.pk_folder,
            CASE WHEN NEW.pk_parent_folder IS NULL THEN 0
                 ELSE (SELECT int_level + 1 FROM folder_level WHERE pk_folder = NEW.pk_parent_folder) END);
    INSERT INTO folder_resource (pk_folder_resource, pk_folder) VALUES (NEW.pk_folder, NEW.pk_folder);
    RETURN NULL;
END
$$;
CREATE TRIGGER after_insert_folder AFTER INSERT ON folder FOR EACH ROW EXECUTE FUNCTION trigger__after_insert_folder();

CREATE FUNCTION trigger__before_delete_folder() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM folder_level WHERE pk_folder = OLD.pk_folder;
    DELETE FROM folder_resource WHERE pk_folder = OLD.pk_folder;
    RETURN OLD;
END
$$;
CREATE TRIGGER before_delete_folder BEFORE DELETE ON folder FOR EACH ROW
    EXECUTE FUNCTION trigger__before_delete_folder();

CREATE FUNCTION trigger__after_insert_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_stat (pk_job_stat, pk_job) VALUES (NEW.pk_job, NEW.pk_job);
    INSERT INTO job_resource (pk_job_resource, pk_job) VALUES (NEW.pk_job, NEW.pk_job);
    INSERT INTO job_usage (pk_job_usage, pk_job) VALUES (NEW.pk_job, NEW.pk_job);
    INSERT INTO job_mem (pk_job_mem, pk_job) VALUES (NEW.pk_job, NEW.pk_job);
    IF keeps_history() THEN
        INSERT INTO job_history (pk_job, pk_show, pk_facility, pk_dept, str_name, str_shot, str_user, int_ts_started)
        VALUES (NEW.pk_job, NEW.pk_show, NEW.pk_facility, NEW.pk_dept, NEW.str_name, NEW.str_shot, NEW.str_user,
                epoch(current_timestamp));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER after_insert_job AFTER INSERT ON job FOR EACH ROW EXECUTE FUNCTION trigger__after_insert_job();

CREATE FUNCTION trigger__after_insert_layer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO layer_stat (pk_layer_stat, pk_layer, pk_job) VALUES (NEW.pk_layer, NEW.pk_layer, NEW.pk_job);
    INSERT INTO layer_resource (pk_layer_resource, pk_layer, pk_job) VALUES (NEW.pk_layer, NEW.pk_layer, NEW.pk_job);
    INSERT INTO layer_usage (pk_layer_usage, pk_layer, pk_job) VALUES (NEW.pk_layer, NEW.pk_layer, NEW.pk_job);
    INSERT INTO layer_mem (pk_layer_mem, pk_layer, pk_job) VALUES (NEW.pk_layer, NEW.pk_layer, NEW.pk_job);
    IF keeps_history() THEN
        INSERT INTO layer_history (pk_layer, pk_job, str_name, str_type, int_cores_min, int_mem_min, int_gpus_min,
                                   int_gpu_mem_min, str_services)
        VALUES (NEW.pk_layer, NEW.pk_job, NEW.str_name, NEW.str_type, NEW.int_cores_min, NEW.int_mem_min,
                NEW.int_gpus_min, NEW.int_gpu_mem_min, NEW.str_services);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER after_insert_layer AFTER INSERT ON layer FOR EACH ROW EXECUTE FUNCTION trigger__after_insert_layer();

-- History of jobs and layers, and what goes with a deleted row ---------------------------------------

CREATE FUNCTION trigger__set_last_modified() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.dt_last_modified := current_date;
    RETURN NEW;
END
$$;
CREATE TRIGGER tbiu_job_history BEFORE INSERT OR UPDATE ON job_history FOR EACH ROW
    EXECUTE FUNCTION trigger__set_last_modified();
CREATE TRIGGER tbiu_layer_history BEFORE INSERT OR UPDATE ON layer_history FOR EACH ROW
    EXECUTE FUNCTION trigger__set_last_modified();
CREATE TRIGGER tbiu_frame_history BEFORE INSERT OR UPDATE ON frame_history FOR EACH ROW
    EXECUTE FUNCTION trigger__set_last_modified();

-- Cuebot's own copy lands most values in the wrong columns, and readers of job_history know it so. Here too.
CREATE FUNCTION copy_job_statistics(job_key varchar) RETURNS void LANGUAGE sql AS $$
    UPDATE job_history
       SET int_core_time_success = u.int_core_time_success, int_core_time_fail = u.int_core_time_fail,
           int_frame_count = j.int_frame_count, int_layer_count = j.int_layer_count,
           int_gpu_mem_max = m.int_gpu_mem_max,
           int_waiting_count = u.int_gpu_time_success, int_dead_count = u.int_gpu_time_fail,
           int_depend_count = s.int_waiting_count, int_eaten_count = s.int_dead_count,
           int_succeeded_count = s.int_depend_count, int_running_count = s.int_eaten_count,
           int_max_rss = s.int_succeeded_count, int_gpu_time_success = s.int_running_count,
           int_gpu_time_fail = m.int_max_rss
      FROM job AS j JOIN job_stat AS s USING (pk_job) JOIN job_usage AS u USING (pk_job) JOIN job_mem AS m USING (pk_job)
     WHERE j.pk_job = job_key AND job_history.pk_job = job_key
$$;

CREATE FUNCTION copy_layer_statistics(layer_key varchar) RETURNS void LANGUAGE sql AS $$
    UPDATE layer_history
       SET int_core_time_success = u.int_core_time_success, int_core_time_fail = u.int_core_time_fail,
           int_gpu_time_success = u.int_gpu_time_success, int_gpu_time_fail = u.int_gpu_time_fail,
           int_frame_count = s.int_total_count, int_waiting_count = s.int_waiting_count,
           int_dead_count = s.int_dead_count, int_depend_count = s.int_depend_count,
           int_eaten_count = s.int_eaten_count, int_succeeded_count = s.int_succeeded_count,
           int_running_count = s.int_running_count, int_max_rss = m.int_max_rss, int_gpu_mem_max = m.int_gpu_mem_max
      FROM layer_stat AS s JOIN layer_usage AS u USING (pk_layer) JOIN layer_mem AS m USING (pk_layer)
     WHERE s.pk_layer = layer_key AND layer_history.pk_layer = layer_key
$$;

CREATE FUNCTION trigger__after_job_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF keeps_history() THEN
        PERFORM copy_job_statistics(NEW.pk_job);
        UPDATE job_history SET int_ts_stopped = epoch(current_timestamp) WHERE pk_job = NEW.pk_job;
        PERFORM copy_layer_statistics(pk_layer) FROM layer WHERE pk_job = NEW.pk_job;
    END IF;
    DELETE FROM job_local WHERE pk_job = NEW.pk_job;
    RETURN NULL;
END
$$;
CREATE TRIGGER after_job_finished AFTER UPDATE ON job FOR EACH ROW
    WHEN (OLD.str_state = 'PENDING' AND NEW.str_state = 'FINISHED')
    EXECUTE FUNCTION trigger__after_job_finished();

CREATE FUNCTION trigger__before_delete_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF keeps_history() THEN
        PERFORM copy_job_statistics(OLD.pk_job);
        UPDATE job_history SET b_archived = true WHERE pk_job = OLD.pk_job;
    END IF;
    DELETE FROM depend WHERE pk_job_depend_on = OLD.pk_job OR pk_job_depend_er = OLD.pk_job;
    DELETE FROM frame_state_display_overrides
     WHERE pk_frame IN (SELECT pk_frame FROM frame WHERE pk_job = OLD.pk_job);
    DELETE FROM frame WHERE pk_job = OLD.pk_job;
    DELETE FROM layer WHERE pk_job = OLD.pk_job;
    DELETE FROM job_env WHERE pk_job = OLD.pk_job;
    DELETE FROM job_stat WHERE pk_job = OLD.pk_job;
    DELETE FROM job_resource WHERE pk_job = OLD.pk_job;
    DELETE FROM job_usage WHERE pk_job = OLD.pk_job;
    DELETE FROM job_mem WHERE pk_job = OLD.pk_job;
    DELETE FROM job_post WHERE pk_job = OLD.pk_job;
    DELETE FROM comments WHERE pk_job = OLD.pk_job;
    RETURN OLD;
END
$$;
CREATE TRIGGER before_delete_job BEFORE DELETE ON job FOR EACH ROW EXECUTE FUNCTION trigger__before_delete_job();

CREATE FUNCTION trigger__before_delete_layer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM copy_layer_statistics(OLD.pk_layer);
    UPDATE layer_history SET b_archived = true WHERE pk_layer = OLD.pk_layer;
    DELETE FROM layer_resource WHERE pk_layer = OLD.pk_layer;
    DELETE FROM layer_stat WHERE pk_layer = OLD.pk_layer;
    DELETE FROM layer_usage WHERE pk_layer = OLD.pk_layer;
    DELETE FROM layer_mem WHERE pk_layer = OLD.pk_layer;
    DELETE FROM layer_env WHERE pk_layer = OLD.pk_layer;
    DELETE FROM layer_output WHERE pk_layer = OLD.pk_layer;
    RETURN OLD;
END
$$;
CREATE TRIGGER before_delete_layer BEFORE DELETE ON layer FOR EACH ROW EXECUTE FUNCTION trigger__before_delete_layer();

CREATE FUNCTION trigger__before_delete_layer_drop_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM layer_limit WHERE pk_layer = OLD.pk_layer;
    RETURN OLD;
END
$$;
CREATE TRIGGER before_delete_layer_drop_limit BEFORE DELETE ON layer FOR EACH ROW
    EXECUTE FUNCTION trigger__before_delete_layer_drop_limit();

CREATE FUNCTION trigger__before_delete_host() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM host_stat WHERE pk_host = OLD.pk_host;
    DELETE FROM host_tag WHERE pk_host = OLD.pk_host;
    DELETE FROM deed WHERE pk_host = OLD.pk_host;
    RETURN OLD;
END
$$;
CREATE TRIGGER before_delete_host BEFORE DELETE ON host FOR EACH ROW EXECUTE FUNCTION trigger__before_delete_host();
