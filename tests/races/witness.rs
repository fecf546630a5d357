//! Who sees every booking and take-back of ours at the moment of its commit, under all its locks, and the
//! caps as they are then: what a look from outside can only sample.
//!
//! What a transaction of ours changes in procs it must change in everything that counts them, to the same
//! row and amount; both are written down by triggers and compared.
//!
//! A trigger that is deferred to the commit compares what procs hold with what may be held. Whoever else
//! adds to a row or changes its cap waits for that row, so what is above a cap here was brought there by
//! the booking that is being committed. What the limits and the jobs' states say is not locked by a
//! booking: of these it is written down when they were changed, and only what had certainly been
//! committed before counts.

use cue_scheduler::farm::schema::Generation;
use sqlx::{AssertSqlSafe, PgPool, Row as _};

use super::ground::Ground;

const TABLES: &str = "
CREATE TABLE race_breach (what text NOT NULL, id text NOT NULL, detail text NOT NULL);
-- Jobs that may start nothing, from when on.
CREATE TABLE race_closed (pk_job text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
-- Every maximum that a limit ever had.
CREATE TABLE race_limit (pk_limit_record text NOT NULL, int_max int);
INSERT INTO race_limit SELECT pk_limit_record, int_max_value FROM limit_record;

-- The points are the last rows that a booking writes.
CREATE FUNCTION race_last_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('races.last_write', clock_timestamp()::text, true);
    RETURN NULL;
END
$$;
CREATE TRIGGER race_last_write AFTER UPDATE ON point FOR EACH STATEMENT EXECUTE FUNCTION race_last_write();
";

/// What states a transaction of ours may change to what.
const STATES: &str = "
CREATE FUNCTION race_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') LIKE 'cue-scheduler%'
        AND (OLD.str_state, NEW.str_state) NOT IN (('WAITING', 'RUNNING'), ('RUNNING', 'WAITING')) THEN
        INSERT INTO race_breach VALUES ('frame', NEW.pk_frame, format('%s became %s', OLD.str_state, NEW.str_state));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER race_state AFTER UPDATE ON frame FOR EACH ROW WHEN (OLD.str_state <> NEW.str_state)
    EXECUTE FUNCTION race_state();
";

/// What transactions of ours add to procs and to what counts them, row by row.
const ENTRIES: &str = "
CREATE UNLOGGED TABLE race_entry (own xid NOT NULL, is_proc bool NOT NULL, counter text NOT NULL, key text NOT NULL,
    cores int8 NOT NULL, memory int8 NOT NULL DEFAULT 0, gpus int8 NOT NULL, gpu_memory int8 NOT NULL DEFAULT 0);

CREATE FUNCTION race_enter_proc() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    p proc := coalesce(NEW, OLD);
    sign int := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
    alloc text := (SELECT pk_alloc FROM host WHERE pk_host = p.pk_host);
BEGIN
    IF current_setting('application_name') LIKE 'cue-scheduler%' THEN
        INSERT INTO race_entry
        VALUES (pg_current_xact_id()::xid, true, 'host', p.pk_host, sign * p.int_cores_reserved, sign * p.int_mem_reserved,
            sign * p.int_gpus_reserved, sign * p.int_gpu_mem_reserved);
        INSERT INTO race_entry (own, is_proc, counter, key, cores, gpus)
        SELECT pg_current_xact_id()::xid, true, counted.counter, counted.key, sign * p.int_cores_reserved, sign * p.int_gpus_reserved
        FROM (VALUES ('subscription', p.pk_show || ' ' || alloc), ('layer_resource', p.pk_layer), ('job_resource', p.pk_job),
            ('folder_resource', p.pk_job), ('point', p.pk_job)) AS counted (counter, key);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER race_enter AFTER INSERT OR DELETE ON proc FOR EACH ROW EXECUTE FUNCTION race_enter_proc();

CREATE FUNCTION race_enter_counter() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_row jsonb := to_jsonb(OLD);
    new_row jsonb := to_jsonb(NEW);
    key text := CASE TG_TABLE_NAME
        WHEN 'host' THEN new_row ->> 'pk_host'
        WHEN 'subscription' THEN (new_row ->> 'pk_show') || ' ' || (new_row ->> 'pk_alloc')
        WHEN 'layer_resource' THEN new_row ->> 'pk_layer'
        WHEN 'job_resource' THEN new_row ->> 'pk_job'
        WHEN 'folder_resource' THEN new_row ->> 'pk_folder'
        ELSE (new_row ->> 'pk_show') || ' ' || (new_row ->> 'pk_dept') END;
    idle text := CASE TG_TABLE_NAME WHEN 'host' THEN '_idle' ELSE '' END;
    sign int := CASE TG_TABLE_NAME WHEN 'host' THEN -1 ELSE 1 END;
BEGIN
    IF current_setting('application_name') LIKE 'cue-scheduler%' THEN
        INSERT INTO race_entry
        SELECT pg_current_xact_id()::xid, false, TG_TABLE_NAME, key, sign * max(v) FILTER (WHERE c = 'int_cores' || idle),
            sign * coalesce(max(v) FILTER (WHERE c = 'int_mem' || idle), 0), sign * max(v) FILTER (WHERE c = 'int_gpus' || idle),
            sign * coalesce(max(v) FILTER (WHERE c = 'int_gpu_mem' || idle), 0)
        FROM (
            SELECT c, (new_row ->> c)::int8 - (old_row ->> c)::int8 AS v
            FROM unnest(ARRAY['int_cores' || idle, 'int_mem' || idle, 'int_gpus' || idle, 'int_gpu_mem' || idle]) AS c
        ) AS changes;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER race_enter AFTER UPDATE ON host FOR EACH ROW EXECUTE FUNCTION race_enter_counter();
CREATE TRIGGER race_enter AFTER UPDATE ON subscription FOR EACH ROW EXECUTE FUNCTION race_enter_counter();
CREATE TRIGGER race_enter AFTER UPDATE ON layer_resource FOR EACH ROW EXECUTE FUNCTION race_enter_counter();
CREATE TRIGGER race_enter AFTER UPDATE ON job_resource FOR EACH ROW EXECUTE FUNCTION race_enter_counter();
CREATE TRIGGER race_enter AFTER UPDATE ON folder_resource FOR EACH ROW EXECUTE FUNCTION race_enter_counter();
CREATE TRIGGER race_enter AFTER UPDATE ON point FOR EACH ROW EXECUTE FUNCTION race_enter_counter();
";

/// How a limit counts: by procs where limits know their kind, by running frames elsewhere.
const USE_BY_PROC: &str = "
    SELECT ll.pk_limit_record,
        CASE WHEN min(lr.str_type) = 'HOST' THEN count(DISTINCT p.pk_host) ELSE count(*) END AS used
    FROM layer_limit ll
    JOIN limit_record lr USING (pk_limit_record)
    JOIN proc p ON p.pk_layer = ll.pk_layer
    GROUP BY ll.pk_limit_record";
const USE_BY_FRAME: &str = "
    SELECT ll.pk_limit_record, count(*) AS used
    FROM layer_limit ll
    JOIN frame f ON f.pk_layer = ll.pk_layer AND f.str_state = 'RUNNING'
    GROUP BY ll.pk_limit_record";

const WITNESS: &str = "
CREATE FUNCTION race_witness() RETURNS trigger LANGUAGE plpgsql AS $$
<<race_witness>>
DECLARE
    own xid := pg_current_xact_id()::xid;
BEGIN
    IF current_setting('application_name') NOT LIKE 'cue-scheduler%'
        OR current_setting('races.judged', true) = own::text THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('races.judged', own::text, true);
    INSERT INTO race_breach
    WITH booked AS MATERIALIZED (
        SELECT p.pk_proc, p.pk_frame, p.pk_host, p.pk_show, p.pk_job, p.pk_layer, h.pk_alloc, j.pk_folder
        FROM proc p JOIN host h USING (pk_host) JOIN job j USING (pk_job)
        WHERE p.xmin = own
    )
    SELECT 'amounts', e.counter || ' ' || e.key, format('procs changed by %s, the row by %s', e.of_procs, e.of_row)
    FROM (
        SELECT counter, key,
            (coalesce(sum(cores) FILTER (WHERE is_proc), 0), coalesce(sum(memory) FILTER (WHERE is_proc), 0),
                coalesce(sum(gpus) FILTER (WHERE is_proc), 0), coalesce(sum(gpu_memory) FILTER (WHERE is_proc), 0)) AS of_procs,
            (coalesce(sum(cores) FILTER (WHERE NOT is_proc), 0), coalesce(sum(memory) FILTER (WHERE NOT is_proc), 0),
                coalesce(sum(gpus) FILTER (WHERE NOT is_proc), 0), coalesce(sum(gpu_memory) FILTER (WHERE NOT is_proc), 0)) AS of_row
        FROM (
            SELECT is_proc, counter, cores, memory, gpus, gpu_memory,
                CASE WHEN is_proc AND counter = 'folder_resource' THEN (SELECT pk_folder FROM job WHERE pk_job = r.key)
                    WHEN is_proc AND counter = 'point' THEN (SELECT pk_show || ' ' || pk_dept FROM job WHERE pk_job = r.key)
                    ELSE key END AS key
            FROM race_entry r WHERE r.own = race_witness.own
        ) AS entries
        GROUP BY counter, key
    ) AS e
    WHERE e.of_procs IS DISTINCT FROM e.of_row
    UNION ALL
    SELECT 'closed job', c.pk_job, format('closed at %s, last write at %s', c.at, current_setting('races.last_write', true))
    FROM race_closed c
    WHERE c.pk_job IN (SELECT pk_job FROM booked) AND c.at < current_setting('races.last_write', true)::timestamptz
    UNION ALL
    SELECT 'frame', f.pk_frame, format('%s, on proc %s', f.str_state, b.pk_proc)
    FROM booked b JOIN frame f USING (pk_frame)
    WHERE f.str_state <> 'RUNNING'
    UNION ALL
    SELECT 'host', h.pk_host, format('%s: procs hold %s, %s, %s, %s of %s, %s, %s, %s', h.str_name, held.cores,
        held.memory, held.gpus, held.gpu_memory, h.int_cores, h.int_mem, h.int_gpus, h.int_gpu_mem)
    FROM host h JOIN (
        SELECT pk_host, sum(int_cores_reserved) AS cores, sum(int_mem_reserved) AS memory,
            sum(int_gpus_reserved) AS gpus, sum(int_gpu_mem_reserved) AS gpu_memory
        FROM proc WHERE pk_host IN (SELECT pk_host FROM booked) GROUP BY pk_host
    ) AS held USING (pk_host)
    WHERE held.cores > h.int_cores OR held.memory > h.int_mem OR held.gpus > h.int_gpus
        OR held.gpu_memory > h.int_gpu_mem
    UNION ALL
    SELECT 'burst', s.pk_subscription, format('procs hold %s, the counter says %s, the burst is %s', held.cores, s.int_cores, s.int_burst)
    FROM subscription s JOIN (
        SELECT p.pk_show, h.pk_alloc, sum(p.int_cores_reserved) AS cores
        FROM proc p JOIN host h USING (pk_host) GROUP BY p.pk_show, h.pk_alloc
    ) AS held USING (pk_show, pk_alloc)
    WHERE (s.pk_show, s.pk_alloc) IN (SELECT pk_show, pk_alloc FROM booked) AND held.cores > s.int_burst
    UNION ALL
    SELECT 'job cap', jr.pk_job, format('procs hold %s and %s GPUs, the counters say %s and %s, the caps are %s and %s',
        held.cores, held.gpus, jr.int_cores, jr.int_gpus, jr.int_max_cores, jr.int_max_gpus)
    FROM job_resource jr JOIN (
        SELECT pk_job, sum(int_cores_reserved) AS cores, sum(int_gpus_reserved) AS gpus FROM proc GROUP BY pk_job
    ) AS held USING (pk_job)
    WHERE jr.pk_job IN (SELECT pk_job FROM booked)
        AND (held.cores > jr.int_max_cores OR held.gpus > jr.int_max_gpus)
    UNION ALL
    SELECT 'folder cap', fr.pk_folder, format('procs hold %s, the counter says %s, the cap is %s', held.cores, fr.int_cores, fr.int_max_cores)
    FROM folder_resource fr JOIN (
        SELECT j.pk_folder, sum(p.int_cores_reserved) AS cores FROM proc p JOIN job j USING (pk_job) GROUP BY j.pk_folder
    ) AS held USING (pk_folder)
    WHERE fr.pk_folder IN (SELECT pk_folder FROM booked) AND fr.int_max_cores <> -1 AND held.cores > fr.int_max_cores
    UNION ALL
    SELECT 'limit', used.pk_limit_record, format('%s in use, at most %s', used.used, allowed.max)
    FROM ({use}) AS used
    JOIN (SELECT pk_limit_record, max(int_max) AS max FROM race_limit GROUP BY pk_limit_record) AS allowed
        USING (pk_limit_record)
    WHERE used.used > allowed.max
        AND used.pk_limit_record IN (SELECT ll.pk_limit_record FROM layer_limit ll JOIN booked USING (pk_layer));
    DELETE FROM race_entry r WHERE r.own = race_witness.own;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER race_witness AFTER INSERT OR DELETE ON proc DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION race_witness();
";

/// A database that takes its time, so that more comes between two statements of ours.
const SLOW: &str = "
CREATE FUNCTION race_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') LIKE 'cue-scheduler%' AND random() < 0.4 THEN
        PERFORM pg_sleep(random() * 0.012);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER race_slow AFTER INSERT OR DELETE ON proc FOR EACH STATEMENT EXECUTE FUNCTION race_slow();
CREATE TRIGGER race_slow AFTER UPDATE ON host FOR EACH STATEMENT EXECUTE FUNCTION race_slow();
CREATE TRIGGER race_slow AFTER UPDATE ON subscription FOR EACH STATEMENT EXECUTE FUNCTION race_slow();
CREATE TRIGGER race_slow AFTER UPDATE ON job_resource FOR EACH STATEMENT EXECUTE FUNCTION race_slow();
CREATE TRIGGER race_slow AFTER UPDATE ON folder_resource FOR EACH STATEMENT EXECUTE FUNCTION race_slow();
";

pub(super) async fn slow_us_down(pool: &PgPool) {
    sqlx::raw_sql(SLOW).execute(pool).await.unwrap();
}

/// Limits with their use.
pub(super) const fn limits_in_use(generation: Generation) -> &'static str {
    match generation {
        Generation::G4 | Generation::G5 => USE_BY_PROC,
        _ => USE_BY_FRAME,
    }
}

pub(super) async fn appoint(pool: &PgPool, generation: Generation) {
    let by = limits_in_use(generation);
    for sql in [TABLES.to_owned(), STATES.to_owned(), ENTRIES.to_owned(), WITNESS.replace("{use}", by)] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }
}

/// What was seen.
pub(super) async fn hear(pool: &PgPool, ground: &Ground) {
    let seen = sqlx::query("SELECT what, id, detail FROM race_breach").fetch_all(pool).await.unwrap();
    for row in seen {
        let (what, id, detail): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let is_double = what == "frame";
        ground.tally(|tally| *if is_double { &mut tally.doubles } else { &mut tally.breaches } += 1);
        ground.fault(format!("a transaction of ours and the {what} of {id}: {detail}"));
    }
}
