//! A Cuebot's sessions: what they write at the same moment as we, in their own transaction boundaries.
//! What Cuebot does in one transaction is one here, and what it does statement by statement commits
//! statement by statement. Rows are locked as its statements lock them, by updates and triggers.

use std::sync::Arc;
use std::time::Duration;

use cue_scheduler::farm::schema::Generation;
use cue_scheduler::model::FrameId;
use cue_scheduler::rqd::{Agents, KillOutcome};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use uuid::Uuid;

use super::ground::{Ground, LossGuard};

/// Longest pause before a statement: a Cuebot thinks, and its database is a network away.
const THINK_MAX_MICROS: u64 = 4_000;

/// What a limit allows at most, so that being above it can be told whenever it is.
const LICENCES_MAX: i32 = 3;

/// What Cuebot and its operators do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Stop,
    Eat,
    Retry,
    Kill,
    Lose,
    Boot,
    Report,
    RaiseMemory,
    Checkpoint,
    Silence,
    Lock,
    DeleteHost,
    Reorder,
    Pause,
    Redirect,
    Move,
    Cap,
    Recalculate,
    Leak,
    Book,
}

impl Act {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Eat => "eat",
            Self::Retry => "retry",
            Self::Kill => "kill",
            Self::Lose => "lose",
            Self::Boot => "boot",
            Self::Report => "report",
            Self::RaiseMemory => "raise-memory",
            Self::Checkpoint => "checkpoint",
            Self::Silence => "silence",
            Self::Lock => "lock",
            Self::DeleteHost => "delete-host",
            Self::Reorder => "reorder",
            Self::Pause => "pause",
            Self::Redirect => "redirect",
            Self::Move => "move",
            Self::Cap => "cap",
            Self::Recalculate => "recalculate",
            Self::Leak => "leak",
            Self::Book => "book",
        }
    }
}

/// What a kind of session does, and how often.
pub(super) const COMPLETIONS: &[(Act, u32)] = &[(Act::Stop, 1)];
pub(super) const OPERATORS: &[(Act, u32)] = &[
    (Act::Eat, 4),
    (Act::Retry, 6),
    (Act::Kill, 1),
    (Act::Reorder, 3),
    (Act::Pause, 5),
    (Act::Redirect, 4),
    (Act::Move, 10),
    (Act::Cap, 5),
];
pub(super) const HOSTS: &[(Act, u32)] = &[
    (Act::Boot, 6),
    (Act::Report, 6),
    (Act::RaiseMemory, 3),
    (Act::Checkpoint, 2),
    (Act::Lock, 2),
    (Act::DeleteHost, 3),
    (Act::Silence, 3),
];
/// Where the ends of runs are reported by agents, and a killed frame has a process. Nobody keeps the
/// stand-in's releases apart from moves of jobs, so nothing is moved.
pub(super) const OPERATORS_WITH_AGENTS: &[(Act, u32)] = &[
    (Act::Eat, 3),
    (Act::Retry, 8),
    (Act::Kill, 1),
    (Act::Reorder, 3),
    (Act::Pause, 5),
    (Act::Redirect, 5),
    (Act::Cap, 6),
];
pub(super) const HOSTS_WITH_AGENTS: &[(Act, u32)] =
    &[(Act::Boot, 6), (Act::RaiseMemory, 3), (Act::Lock, 2), (Act::DeleteHost, 2)];
pub(super) const SWEEPS: &[(Act, u32)] = &[(Act::Lose, 6), (Act::Recalculate, 3), (Act::Leak, 1)];
pub(super) const BOOKINGS: &[(Act, u32)] = &[(Act::Book, 1)];

pub(super) struct Session {
    connection: PgConnection,
    random: StdRng,
    ground: Arc<Ground>,
    name: String,
    doing: &'static str,
    /// Longest pause between two acts.
    rest_max: Duration,
    /// Who runs the frames. `None`: nobody does, and a run has ended when its rows say so.
    agents: Option<Agents>,
}

/// What became of statements.
enum End<T> {
    Done(T),
    /// A deadlock: the transaction is rolled back and begun again.
    Again,
    /// A trigger, a constraint or a held row.
    Refused(String),
}

type Outcome<T> = Result<T, String>;

/// Runs a statement and says how many rows it changed.
macro_rules! run {
    ($session:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        $session.before($sql).await;
        sqlx::query($sql)$(.bind($value))*.execute(&mut $session.connection).await.map(|done| done.rows_affected())
    }};
}

macro_rules! rows {
    ($session:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        $session.before($sql).await;
        sqlx::query($sql)$(.bind($value))*.fetch_all(&mut $session.connection).await
    }};
}

/// One transaction, begun again after a deadlock.
macro_rules! transaction {
    ($session:expr, $act:expr) => {
        loop {
            $session.control("BEGIN").await;
            let done = $act;
            match $session.end(done, true).await {
                End::Done(done) => break Ok(done),
                End::Again => {}
                End::Refused(why) => break Err(why),
            }
        }
    };
}

/// One statement that commits alone.
macro_rules! alone {
    ($session:expr, $act:expr) => {
        loop {
            let done = $act;
            match $session.end(done, false).await {
                End::Done(done) => break Ok(done),
                End::Again => {}
                End::Refused(why) => break Err(why),
            }
        }
    };
}

/// A proc as a session has read it.
#[derive(Clone, Debug)]
struct Held {
    proc: String,
    frame: Option<String>,
    version: i32,
    can_retry: bool,
    host: String,
    host_name: String,
    alloc: String,
    show: String,
    layer: String,
    job: String,
    /// Somebody else's to account, in the generations that know such shows.
    is_managed: bool,
    amounts: Amounts,
}

#[derive(Clone, Copy, Debug)]
struct Amounts {
    cores: i64,
    memory: i64,
    gpus: i64,
    gpu_memory: i64,
}

impl Amounts {
    fn of(row: &PgRow) -> Self {
        Self {
            cores: row.get("cores"),
            memory: row.get("memory"),
            gpus: row.get("gpus"),
            gpu_memory: row.get("gpu_memory"),
        }
    }
}

/// What became of the process of a run that was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// Its agent will report that it has ended.
    Ending,
    /// Its agent does not run it, or not yet.
    Gone,
    Unknown,
}

/// Where Cuebot books a frame of its own accord.
struct Target {
    frame: String,
    frame_name: String,
    version: i32,
    layer: String,
    job: String,
    show: String,
    host: String,
    host_name: String,
    alloc: String,
    amounts: Amounts,
}

impl Session {
    pub(super) async fn open(options: &PgConnectOptions, ground: &Arc<Ground>, name: &str, number: u64) -> Self {
        let name = format!("{name} {number}");
        let options = options.clone().application_name(&format!("cuebot {name}"));
        let connection = PgConnection::connect_with(&options).await.unwrap();
        let random = StdRng::seed_from_u64(ground.seed.wrapping_mul(1_009).wrapping_add(number));
        let rest_max = Duration::from_micros(THINK_MAX_MICROS);
        Self { connection, random, ground: Arc::clone(ground), name, doing: "", rest_max, agents: None }
    }

    /// How long it pauses between two acts at most.
    pub(super) fn resting(self, rest_max: Duration) -> Self {
        Self { rest_max, ..self }
    }

    /// What is killed is killed there, and reports itself when it has ended.
    pub(super) fn with_agents(self, agents: Agents) -> Self {
        Self { agents: Some(agents), ..self }
    }

    pub(super) async fn close(self) {
        self.connection.close().await.unwrap();
    }

    /// So many acts of these kinds, drawn before the first of them: what comes of one is the machine's doing.
    pub(super) async fn play(mut self, kinds: &'static [(Act, u32)], acts: u32) {
        let mut draw = || kinds.choose_weighted(&mut self.random, |(_, weight)| *weight).unwrap().0;
        let acts: Vec<Act> = (0..acts).map(|_| draw()).collect();
        for act in acts {
            let came = self.act(act).await;
            self.ground.acted(&self.name, act.name(), &came);
            tokio::time::sleep(self.rest_max.mul_f64(self.random.random())).await;
        }
        self.close().await;
    }

    async fn act(&mut self, act: Act) -> String {
        match act {
            Act::Stop => self.stop_some().await,
            Act::Eat => self.eat().await,
            Act::Retry => self.retry().await,
            Act::Kill => self.kill().await,
            Act::Lose => self.lose().await,
            Act::Boot => self.boot().await,
            Act::Report => self.report().await,
            Act::RaiseMemory => self.raise_memory().await,
            Act::Checkpoint => self.checkpoint().await,
            Act::Silence => self.silence().await,
            Act::Lock => self.lock().await,
            Act::DeleteHost => self.delete_host().await,
            Act::Reorder => self.reorder().await,
            Act::Pause => self.pause().await,
            Act::Redirect => self.redirect().await,
            Act::Move => self.move_job().await,
            Act::Cap => self.change_cap().await,
            Act::Recalculate => self.recalculate().await,
            Act::Leak => self.leak().await,
            Act::Book => self.book_some().await,
        }
    }

    async fn before(&mut self, doing: &'static str) {
        self.doing = doing;
        if self.random.random_bool(0.5) {
            let micros = self.random.random_range(0..THINK_MAX_MICROS);
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }

    async fn control(&mut self, word: &'static str) {
        sqlx::raw_sql(word).execute(&mut self.connection).await.unwrap();
    }

    async fn end<T>(&mut self, done: sqlx::Result<T>, is_open: bool) -> End<T> {
        let error = match done {
            Ok(done) if is_open => {
                self.control("COMMIT").await;
                return End::Done(done);
            }
            Ok(done) => return End::Done(done),
            Err(error) => error,
        };
        if is_open {
            self.control("ROLLBACK").await;
        }
        if matches!(error, sqlx::Error::RowNotFound) {
            return End::Refused("a row was gone".to_owned());
        }
        let Some(told) = error.as_database_error() else { panic!("{}: {}: {error}", self.name, self.doing) };
        match told.code().as_deref() {
            Some("40P01") => {
                self.deadlock(told.downcast_ref()).await;
                End::Again
            }
            // The server's own trouble with a row that is locked by one session while another's write of it
            // ends; seen once in hundreds of rounds. Nothing of the statement is written, as with a deadlock.
            Some("XX000") if told.message().starts_with("new multixact has more than one updating member") => {
                End::Again
            }
            Some("P0001" | "23503" | "23505" | "55P03") => End::Refused(told.message().to_owned()),
            _ => panic!("{}: {}: {error}", self.name, self.doing),
        }
    }

    /// Whether one of ours took part is in what the server says of it.
    async fn deadlock(&mut self, error: &sqlx::postgres::PgDatabaseError) {
        let ours = "SELECT pid::text FROM pg_stat_activity WHERE application_name LIKE 'cue-scheduler%'";
        let ours: Vec<String> = sqlx::query_scalar(ours).fetch_all(&mut self.connection).await.unwrap();
        let detail = error.detail().unwrap_or_default();
        let words: Vec<&str> = detail.split(|letter: char| !letter.is_ascii_digit()).collect();
        let is_ours = ours.iter().any(|pid| words.contains(&pid.as_str()));
        let line = format!("deadlock in `{}`: {}", self.doing, detail.replace('\n', " "));
        if is_ours {
            self.ground.tally(|tally| tally.deadlocks += 1);
            self.ground.fault(format!("{}: {line}", self.name));
        } else {
            self.ground.tally(|tally| tally.own_deadlocks += 1);
            self.ground.note(&self.name.clone(), &line);
        }
    }

    /// Something to choose at random by.
    fn nonce(&mut self) -> String {
        self.random.random::<u64>().to_string()
    }

    /// A proc of those that `condition` admits.
    async fn choose(&mut self, condition: &str) -> Option<Held> {
        self.some(condition, 1).await.pop()
    }

    async fn all(&mut self, condition: &str) -> Vec<Held> {
        self.some(condition, 1_000).await
    }

    async fn some(&mut self, condition: &str, most: u32) -> Vec<Held> {
        let sql = format!(
            "SELECT p.pk_proc, p.pk_frame, coalesce(f.int_version, 0) AS version,
                coalesce(f.int_retries < j.int_max_retries, false) AS can_retry, p.pk_host, h.str_name AS host_name,
                h.pk_alloc, p.pk_show,
                p.pk_layer, p.pk_job, coalesce((to_jsonb(s) ->> 'b_scheduler_managed')::bool, false) AS is_managed,
                p.int_cores_reserved AS cores, p.int_mem_reserved AS memory, p.int_gpus_reserved::int8 AS gpus,
                p.int_gpu_mem_reserved AS gpu_memory
             FROM proc p JOIN host h USING (pk_host) JOIN show s ON s.pk_show = p.pk_show JOIN job j ON j.pk_job = p.pk_job
             LEFT JOIN frame f ON f.pk_frame = p.pk_frame
             WHERE {condition} ORDER BY md5(p.pk_proc || $1) LIMIT {most}"
        );
        let nonce = self.nonce();
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(nonce).fetch_all(&mut self.connection).await.unwrap();
        let held = rows.iter().map(|row| Held {
            proc: row.get("pk_proc"),
            frame: row.get("pk_frame"),
            version: row.get("version"),
            can_retry: row.get("can_retry"),
            host: row.get("pk_host"),
            host_name: row.get("host_name"),
            alloc: row.get("pk_alloc"),
            show: row.get("pk_show"),
            layer: row.get("pk_layer"),
            job: row.get("pk_job"),
            is_managed: row.get("is_managed"),
            amounts: Amounts::of(row),
        });
        held.collect()
    }

    /// The key of a row of `table`, those that `condition` admits.
    async fn choose_key(&mut self, table: &str, key: &str, condition: &str) -> Option<String> {
        let sql = format!("SELECT {key} FROM {table} WHERE {condition} ORDER BY md5({key} || $1) LIMIT 1");
        let nonce = self.nonce();
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(nonce).fetch_optional(&mut self.connection).await.unwrap()
    }

    /// Tells the host to end a run. Without agents nothing ever runs.
    async fn end_process(&self, held: &Held) -> Process {
        let (Some(agents), Some(frame)) = (&self.agents, &held.frame) else { return Process::Gone };
        match agents.kill(&held.host_name, &FrameId::new(frame), "by an operator").await {
            Ok(KillOutcome::Killed) => Process::Ending,
            Ok(KillOutcome::NotRunning) => Process::Gone,
            Err(_) => Process::Unknown,
        }
    }

    // The end of a run ------------------------------------------------------------------------------------

    async fn stop_some(&mut self) -> String {
        let Some(held) = self.choose("f.str_state = 'RUNNING'").await else { return "nothing runs".to_owned() };
        let status = *[0, 0, 0, 0, 1, 256].choose(&mut self.random).unwrap();
        self.complete(held, status).await
    }

    /// An agent reports that a run has ended: the stop, and what follows it on a queue.
    async fn complete(&mut self, held: Held, status: i64) -> String {
        let state = match status {
            0 => "SUCCEEDED",
            _ if held.can_retry => "WAITING",
            _ => "DEAD",
        };
        let stopped: Outcome<u64> = transaction!(self, self.write_stop(&held, state, status).await);
        if stopped != Ok(1) {
            return format!("frame {:?} was stopped by others: {stopped:?}", held.frame);
        }
        self.finish(&held.job).await;
        let came = format!("frame {} {state}", held.frame.clone().unwrap_or_default());
        let redirected =
            rows!(self, "DELETE FROM redirect WHERE pk_proc = $1 RETURNING str_destination_id", &held.proc);
        if let Some(row) = redirected.unwrap().first() {
            let destination: String = row.get(0);
            self.release(&held).await;
            let booked = self.book_redirected(&held, &destination).await;
            return format!("{came}, redirected to {destination}: {booked}");
        }
        let goes_on = matches!(self.ground.generation, Generation::G0 | Generation::G1) || !held.is_managed;
        if goes_on && status != 256 && self.random.random_bool(0.6) && self.go_on(&held).await {
            return format!("{came}, next frame");
        }
        self.release(&held).await;
        format!("{came}, proc {} released", held.proc)
    }

    async fn write_stop(&mut self, held: &Held, state: &str, status: i64) -> sqlx::Result<u64> {
        let stopped = run!(
            self,
            "UPDATE frame SET str_state = $3, int_exit_status = $4, ts_stopped = current_timestamp + interval '1 second',
                 ts_updated = current_timestamp, int_mem_max_used = 1024, int_version = int_version + 1
             WHERE pk_frame = $1 AND str_state = 'RUNNING' AND int_version = $2",
            &held.frame,
            held.version,
            state,
            status
        )?;
        if stopped == 1 {
            run!(self, "UPDATE proc SET pk_frame = NULL WHERE pk_frame = $1", &held.frame)?;
        }
        Ok(stopped)
    }

    async fn finish(&mut self, job: &str) {
        let ground = Arc::clone(&self.ground);
        let _one_at_a_time = ground.closings.lock().await;
        let finished: Outcome<u64> = alone!(
            self,
            run!(
                self,
                "UPDATE job SET str_state = 'FINISHED', str_visible_name = NULL, ts_stopped = current_timestamp
                 WHERE pk_job = $1 AND str_state = 'PENDING' AND EXISTS (
                     SELECT FROM job_stat WHERE pk_job = $1 AND int_waiting_count + int_running_count + int_depend_count
                         + int_dead_count + int_checkpoint_count = 0)",
                job
            )
        );
        if finished == Ok(1) {
            self.write_down_closed(job).await;
        }
    }

    async fn write_down_closed(&mut self, job: &str) {
        run!(
            self,
            "INSERT INTO race_closed (pk_job) VALUES ($1) ON CONFLICT (pk_job) DO UPDATE SET at = clock_timestamp()",
            job
        )
        .unwrap();
    }

    /// The next frame of the same job on the same proc.
    async fn go_on(&mut self, held: &Held) -> bool {
        let next = rows!(
            self,
            "SELECT f.pk_frame, f.int_version, f.pk_layer FROM frame f JOIN layer l USING (pk_layer) JOIN job j ON j.pk_job = f.pk_job
             JOIN host h ON h.pk_host = $2
             WHERE f.pk_job = $1 AND f.str_state = 'WAITING' AND j.str_state = 'PENDING' AND NOT j.b_paused
                 AND h.str_lock_state = 'OPEN' AND l.int_cores_min <= $3 AND l.int_mem_min <= $4 AND l.int_gpus_min <= $5
                 AND l.int_gpu_mem_min <= $6 AND NOT EXISTS (SELECT FROM layer_limit ll WHERE ll.pk_layer = l.pk_layer)
             ORDER BY f.int_dispatch_order, f.int_layer_order LIMIT 1",
            &held.job,
            &held.host,
            held.amounts.cores,
            held.amounts.memory,
            held.amounts.gpus,
            held.amounts.gpu_memory
        )
        .unwrap();
        let Some(next) = next.first() else { return false };
        let (frame, version, layer): (String, i32, String) = (next.get(0), next.get(1), next.get(2));
        let went_on: Outcome<bool> = transaction!(self, self.write_next(held, &frame, version, &layer).await);
        matches!(went_on, Ok(true))
    }

    async fn write_next(&mut self, held: &Held, frame: &str, version: i32, layer: &str) -> sqlx::Result<bool> {
        let taken = rows!(
            self,
            "SELECT pk_frame FROM frame WHERE pk_frame = $1 AND str_state = 'WAITING' AND int_version = $2 FOR UPDATE NOWAIT",
            frame,
            version
        )?;
        if taken.is_empty() {
            return Ok(false);
        }
        run!(
            self,
            "UPDATE frame f SET str_state = 'RUNNING', str_host = h.str_name, int_cores = p.int_cores_reserved,
                 int_mem_reserved = p.int_mem_reserved, int_gpus = p.int_gpus_reserved,
                 int_gpu_mem_reserved = p.int_gpu_mem_reserved, ts_started = current_timestamp,
                 ts_updated = current_timestamp, ts_stopped = NULL, int_version = f.int_version + 1
             FROM proc p JOIN host h USING (pk_host)
             WHERE f.pk_frame = $1 AND p.pk_proc = $2 AND f.str_state = 'WAITING' AND f.int_version = $3",
            frame,
            &held.proc,
            version
        )?;
        run!(
            self,
            "UPDATE proc SET pk_frame = $2, pk_layer = $3, ts_ping = current_timestamp, ts_dispatched = current_timestamp
             WHERE pk_proc = $1 AND pk_frame IS NULL",
            &held.proc,
            frame,
            layer
        )
        .and_then(|moved| if moved == 1 { Ok(true) } else { Err(sqlx::Error::RowNotFound) })
    }

    /// Of a proc whose frame has ended.
    async fn release(&mut self, held: &Held) {
        let held = Held { frame: None, ..held.clone() };
        let ground = Arc::clone(&self.ground);
        let _moves = ground.moves.read().await;
        let released: Outcome<bool> = transaction!(self, self.give_back(&held).await);
        released.unwrap_or_else(|why| panic!("{}: {why}: {held:?}", self.name));
    }

    /// All statements of a release, for one transaction.
    async fn give_back(&mut self, held: &Held) -> sqlx::Result<bool> {
        let Some(given) = self.delete_proc(held).await? else { return Ok(false) };
        self.give_to_host(held, given).await?;
        if self.is_left_to_us(held) {
            self.notify(held, given).await?;
            return Ok(true);
        }
        for counter in Counter::ALL {
            self.subtract(counter, held, given).await?;
        }
        Ok(true)
    }

    /// The oldest generation gives back what it remembers, the newer ones what the row says.
    async fn delete_proc(&mut self, held: &Held) -> sqlx::Result<Option<Amounts>> {
        let deleted = rows!(
            self,
            "DELETE FROM proc WHERE pk_proc = $1 AND pk_frame IS NOT DISTINCT FROM $2
             RETURNING int_cores_reserved AS cores, int_mem_reserved AS memory, int_gpus_reserved::int8 AS gpus,
                 int_gpu_mem_reserved AS gpu_memory",
            &held.proc,
            &held.frame
        )?;
        let is_stale = self.ground.generation == Generation::G0;
        Ok(deleted.first().map(|row| if is_stale { held.amounts } else { Amounts::of(row) }))
    }

    async fn give_to_host(&mut self, held: &Held, given: Amounts) -> sqlx::Result<u64> {
        run!(
            self,
            "UPDATE host SET int_cores_idle = int_cores_idle + $2, int_mem_idle = int_mem_idle + $3,
                 int_gpus_idle = int_gpus_idle + $4, int_gpu_mem_idle = int_gpu_mem_idle + $5 WHERE pk_host = $1",
            &held.host,
            given.cores,
            given.memory,
            given.gpus,
            given.gpu_memory
        )
    }

    fn is_left_to_us(&self, held: &Held) -> bool {
        held.is_managed && matches!(self.ground.generation, Generation::G2 | Generation::G3)
    }

    async fn notify(&mut self, held: &Held, given: Amounts) -> sqlx::Result<u64> {
        if self.ground.generation != Generation::G3 {
            return Ok(0);
        }
        // Equal notifications of one transaction arrive once; of a transaction each here.
        run!(
            self,
            "SELECT pg_notify('acct_release', json_build_object('show', pk_show, 'alloc', $2::text, 'folder', pk_folder,
                 'job', pk_job, 'layer', $3::text, 'dept', pk_dept, 'cores', -($4::int8 / 100), 'gpus', -$5::int8)::text)
             FROM job WHERE pk_job = $1",
            &held.job,
            &held.alloc,
            &held.layer,
            given.cores,
            given.gpus
        )
    }

    async fn subtract(&mut self, counter: Counter, held: &Held, given: Amounts) -> sqlx::Result<u64> {
        let key = match counter {
            Counter::Subscription => &held.show,
            Counter::Layer => &held.layer,
            Counter::Job | Counter::Folder | Counter::Point => &held.job,
        };
        run!(self, counter.subtraction(), key, given.cores, given.gpus, &held.alloc)
    }

    // Operators -------------------------------------------------------------------------------------------

    async fn eat(&mut self) -> String {
        let Some(frame) = self.choose_key("frame", "pk_frame", "str_state IN ('WAITING', 'RUNNING')").await else {
            return "no frame".to_owned();
        };
        let read = rows!(self, "SELECT str_state, int_version FROM frame WHERE pk_frame = $1", &frame).unwrap();
        let (state, version): (String, i32) = (read[0].get(0), read[0].get(1));
        let eaten: Outcome<u64> = alone!(
            self,
            run!(
                self,
                "UPDATE frame SET str_state = 'EATEN', ts_updated = current_timestamp, ts_stopped = current_timestamp,
                     int_version = int_version + 1 WHERE pk_frame = $1 AND int_version = $2",
                &frame,
                version
            )
        );
        if eaten != Ok(1) {
            return format!("frame {frame} changed meanwhile");
        }
        if self.agents.is_some() {
            let held = self.choose(&format!("f.pk_frame = '{frame}'")).await;
            let process = match &held {
                Some(held) => Some(self.end_process(held).await),
                None => None,
            };
            return format!("frame {frame}, which was {state}; its process: {process:?}");
        }
        // Its process is killed, and the agent reports that.
        let ended = self.end_strays(Some(&frame)).await;
        format!("frame {frame}, which was {state}; ended {ended}")
    }

    /// Agents report the end of what runs although its frame does not: the frame stays as it is.
    pub(super) async fn end_strays(&mut self, frame: Option<&str>) -> u32 {
        let mut ended = 0;
        loop {
            let condition = match frame {
                Some(frame) => format!("f.pk_frame = '{frame}' AND f.str_state <> 'RUNNING'"),
                None => "f.str_state <> 'RUNNING'".to_owned(),
            };
            let Some(held) = self.choose(&condition).await else { return ended };
            let cleared: Outcome<u64> = alone!(
                self,
                run!(
                    self,
                    "UPDATE proc SET pk_frame = NULL WHERE pk_proc = $1 AND pk_frame = $2",
                    &held.proc,
                    &held.frame
                )
            );
            if cleared == Ok(1) {
                self.release(&held).await;
                ended += 1;
            }
        }
    }

    async fn retry(&mut self) -> String {
        let condition = "str_state IN ('RUNNING', 'RUNNING', 'DEAD', 'SUCCEEDED', 'EATEN')";
        let Some(frame) = self.choose_key("frame", "pk_frame", condition).await else { return "no frame".to_owned() };
        let running = self.choose(&format!("f.pk_frame = '{frame}' AND f.str_state = 'RUNNING'")).await;
        if let Some(held) = running {
            let process = self.end_process(&held).await;
            if process != Process::Gone {
                return format!("frame {frame}, process {process:?}");
            }
            let ground = Arc::clone(&self.ground);
            let released: Outcome<bool> = {
                let _moves = ground.moves.read().await;
                transaction!(self, self.give_back(&held).await)
            };
            let cleared: Outcome<u64> = alone!(self, self.clear(&frame, 299).await);
            return format!("frame {frame}, which ran on proc {} ({released:?}, {cleared:?})", held.proc);
        }
        let retried: Outcome<u64> = alone!(
            self,
            run!(
                self,
                "UPDATE frame SET str_state = 'WAITING', ts_updated = current_timestamp, int_version = int_version + 1
                 WHERE pk_frame = $1 AND str_state IN ('DEAD', 'SUCCEEDED', 'EATEN')",
                &frame
            )
        );
        format!("frame {frame} ({retried:?})")
    }

    /// Nothing but the proc is asked for, neither state nor version.
    async fn clear(&mut self, frame: &str, status: i64) -> sqlx::Result<u64> {
        run!(
            self,
            "UPDATE frame SET str_state = 'WAITING', int_exit_status = $2, ts_stopped = current_timestamp,
                 ts_updated = current_timestamp, int_version = int_version + 1
             WHERE pk_frame = $1 AND pk_frame NOT IN (SELECT pk_frame FROM proc WHERE pk_frame = $1)",
            frame,
            status
        )
    }

    async fn kill(&mut self) -> String {
        let Some(job) = self.choose_key("job", "pk_job", "str_state = 'PENDING'").await else {
            return "no job".to_owned();
        };
        {
            let ground = Arc::clone(&self.ground);
            let _one_at_a_time = ground.closings.lock().await;
            let killed: Outcome<u64> = alone!(
                self,
                run!(
                    self,
                    "UPDATE job SET str_state = 'FINISHED', str_visible_name = NULL, ts_stopped = current_timestamp
                     WHERE pk_job = $1 AND str_state = 'PENDING'",
                    &job
                )
            );
            if killed != Ok(1) {
                return format!("job {job} had ended");
            }
            self.write_down_closed(&job).await;
        }
        let mut ended = 0;
        if self.agents.is_some() {
            for held in self.all(&format!("p.pk_job = '{job}' AND f.str_state = 'RUNNING'")).await {
                ended += u32::from(self.end_process(&held).await == Process::Ending);
            }
            return format!("job {job}, {ended} processes killed");
        }
        while let Some(held) = self.choose(&format!("p.pk_job = '{job}' AND f.str_state = 'RUNNING'")).await {
            self.complete(Held { can_retry: false, ..held }, 1).await;
            ended += 1;
        }
        format!("job {job}, {ended} runs ended")
    }

    async fn reorder(&mut self) -> String {
        if self.random.random_bool(0.5) {
            let Some(job) = self.choose_key("job", "pk_job", "true").await else { return "no job".to_owned() };
            let priority = self.random.random_range(1..200);
            let done: Outcome<u64> =
                alone!(self, run!(self, "UPDATE job_resource SET int_priority = $2 WHERE pk_job = $1", &job, priority));
            return format!("priority {priority} for job {job} ({done:?})");
        }
        let Some(layer) = self.choose_key("layer", "pk_layer", "true").await else { return "no layer".to_owned() };
        let frames =
            rows!(self, "SELECT pk_frame FROM frame WHERE pk_layer = $1 ORDER BY int_number DESC LIMIT 5", &layer);
        let frames: Vec<String> = frames.unwrap().iter().map(|row| row.get(0)).collect();
        let done: Outcome<()> = transaction!(self, self.write_order(&frames).await);
        format!("last five of layer {layer} first ({done:?})")
    }

    async fn write_order(&mut self, frames: &[String]) -> sqlx::Result<()> {
        for frame in frames {
            run!(self, "UPDATE frame SET int_dispatch_order = int_dispatch_order - 20 WHERE pk_frame = $1", frame)?;
        }
        Ok(())
    }

    async fn pause(&mut self) -> String {
        let Some(job) = self.choose_key("job", "pk_job", "str_state = 'PENDING'").await else {
            return "no job".to_owned();
        };
        let ground = Arc::clone(&self.ground);
        let _one_at_a_time = ground.closings.lock().await;
        let read =
            rows!(self, "SELECT b_paused OR NOT b_auto_book, str_state FROM job WHERE pk_job = $1", &job).unwrap();
        if read[0].get::<String, _>(1) != "PENDING" {
            return format!("job {job} has ended");
        }
        if read[0].get(0) {
            run!(self, "DELETE FROM race_closed WHERE pk_job = $1", &job).unwrap();
            run!(self, "UPDATE job SET b_paused = false, b_auto_book = true WHERE pk_job = $1", &job).unwrap();
            return format!("job {job} goes on");
        }
        if self.random.random_bool(0.8) {
            run!(self, "UPDATE job SET b_paused = true WHERE pk_job = $1", &job).unwrap();
        } else {
            run!(self, "UPDATE job SET b_auto_book = false WHERE pk_job = $1", &job).unwrap();
        }
        self.write_down_closed(&job).await;
        format!("job {job} pauses")
    }

    async fn redirect(&mut self) -> String {
        let Some(held) = self.choose("f.str_state = 'RUNNING'").await else { return "nothing runs".to_owned() };
        let Some(job) = self.choose_key("job", "pk_job", "str_state = 'PENDING'").await else {
            return "no job".to_owned();
        };
        let inserted: Outcome<u64> = alone!(
            self,
            run!(
                self,
                "INSERT INTO redirect (pk_proc, str_group_id, int_type, str_destination_id, str_name, lng_creation_time)
                 VALUES ($1, $1, 0, $2, $2, (extract(epoch FROM current_timestamp) * 1000)::int8)
                 ON CONFLICT (pk_proc) DO NOTHING",
                &held.proc,
                &job
            )
        );
        let came = format!("proc {} to job {job} ({inserted:?})", held.proc);
        if self.random.random_bool(0.6) {
            return came;
        }
        let killed = match self.agents {
            Some(_) => format!("{:?}", self.end_process(&held).await),
            None => self.complete(held, 1).await,
        };
        format!("{came}; killed: {killed}")
    }

    async fn move_job(&mut self) -> String {
        let Some(job) = self.choose_key("job", "pk_job", "true").await else { return "no job".to_owned() };
        let condition =
            format!("pk_show = (SELECT pk_show FROM job WHERE pk_job = '{job}') AND pk_parent_folder IS NOT NULL");
        let Some(folder) = self.choose_key("folder", "pk_folder", &condition).await else {
            return "no folder".to_owned();
        };
        let ground = Arc::clone(&self.ground);
        let _moves = ground.moves.write().await;
        let moved: Outcome<u64> = if self.random.random_bool(0.5) {
            let sql = "UPDATE job SET pk_folder = $2 WHERE pk_job = $1 AND str_state = 'PENDING'";
            alone!(self, run!(self, sql, &job, &folder))
        } else {
            // Of a job that has ended the use stays with its old department.
            let sql = "UPDATE job SET pk_folder = $2, pk_dept = (SELECT pk_dept FROM folder WHERE pk_folder = $2)
                 WHERE pk_job = $1 AND str_state = 'PENDING'";
            alone!(self, run!(self, sql, &job, &folder))
        };
        format!("job {job} to folder {folder} ({moved:?})")
    }

    async fn change_cap(&mut self) -> String {
        match self.random.random_range(0..4) {
            0 => {
                let Some(key) = self.choose_key("subscription", "pk_subscription", "true").await else {
                    return String::new();
                };
                let burst = *[0, 400, 800, 1_200, 2_000].choose(&mut self.random).unwrap();
                let done: Outcome<u64> = alone!(
                    self,
                    run!(self, "UPDATE subscription SET int_burst = $2 WHERE pk_subscription = $1", &key, burst)
                );
                format!("burst of {key} is {burst} ({done:?})")
            }
            1 => {
                let Some(key) = self.choose_key("folder_resource", "pk_folder", "true").await else {
                    return String::new();
                };
                let cap = *[-1, 300, 600, 900, 1_200].choose(&mut self.random).unwrap();
                let done: Outcome<u64> = alone!(
                    self,
                    run!(self, "UPDATE folder_resource SET int_max_cores = $2 WHERE pk_folder = $1", &key, cap)
                );
                format!("cap of folder {key} is {cap} ({done:?})")
            }
            2 => {
                let Some(key) = self.choose_key("job_resource", "pk_job", "true").await else { return String::new() };
                let cap = *[200, 400, 600, 10_000].choose(&mut self.random).unwrap();
                let done: Outcome<u64> =
                    alone!(self, run!(self, "UPDATE job_resource SET int_max_cores = $2 WHERE pk_job = $1", &key, cap));
                format!("cap of job {key} is {cap} ({done:?})")
            }
            _ => {
                let Some(key) = self.choose_key("limit_record", "pk_limit_record", "true").await else {
                    return String::new();
                };
                let most = self.random.random_range(1..=LICENCES_MAX);
                let done: Outcome<()> = transaction!(self, self.write_limit(&key, most).await);
                format!("limit {key} is {most} ({done:?})")
            }
        }
    }

    async fn write_limit(&mut self, limit: &str, most: i32) -> sqlx::Result<()> {
        run!(self, "INSERT INTO race_limit VALUES ($1, $2)", limit, most)?;
        run!(self, "UPDATE limit_record SET int_max_value = $2 WHERE pk_limit_record = $1", limit, most)?;
        Ok(())
    }

    // Sweeps ----------------------------------------------------------------------------------------------

    /// A proc is given up: no transaction, each statement commits alone, the proc goes first.
    async fn lose(&mut self) -> String {
        let Some(held) = self.choose("f.str_state = 'RUNNING'").await else { return "nothing runs".to_owned() };
        let process = self.end_process(&held).await;
        // Cuebot gives up what has not been heard of for five minutes; by then no launch is still on its way.
        if process == Process::Unknown || (self.agents.is_some() && process == Process::Gone) {
            return format!("the host of proc {} does not say that it ran: {process:?}", held.proc);
        }
        let ground = Arc::clone(&self.ground);
        let _moves = ground.moves.read().await;
        let _recalculations = ground.recalculations.read().await;
        let frame_first = self.random.random_bool(0.5);
        if frame_first {
            let stopped: Outcome<u64> = transaction!(self, self.write_loss(&held).await);
            if stopped != Ok(1) {
                return format!("frame {:?} was not lost ({stopped:?})", held.frame);
            }
        }
        let held = if frame_first { Held { frame: None, ..held } } else { held };
        let _loss = LossGuard::begin(&ground);
        let deleted: Outcome<Option<Amounts>> = alone!(self, self.delete_proc(&held).await);
        let Ok(Some(given)) = deleted else { return format!("proc {} was gone ({deleted:?})", held.proc) };
        let _: Outcome<u64> = alone!(self, self.give_to_host(&held, given).await);
        if self.is_left_to_us(&held) {
            let _: Outcome<u64> = alone!(self, self.notify(&held, given).await);
        } else {
            for counter in Counter::ALL {
                let _: Outcome<u64> = alone!(self, self.subtract(counter, &held, given).await);
            }
        }
        if !frame_first {
            let held = Held { version: self.version_without_proc(&held).await.unwrap_or(held.version), ..held.clone() };
            let _: Outcome<u64> = transaction!(self, self.write_loss(&held).await);
        }
        format!("proc {} of frame {:?}, frame first: {frame_first}", held.proc, held.frame)
    }

    /// Of the frame that a proc just given up ran. Between the choice and the end of the proc its frame may have
    /// ended and begun again on the same proc; that run is the one that is over.
    async fn version_without_proc(&mut self, held: &Held) -> Option<i32> {
        let running = rows!(
            self,
            "SELECT int_version FROM frame f WHERE pk_frame = $1 AND str_state = 'RUNNING'
                 AND NOT EXISTS (SELECT FROM proc p WHERE p.pk_frame = f.pk_frame)",
            &held.frame
        )
        .unwrap();
        running.first().map(|row| row.get(0))
    }

    async fn write_loss(&mut self, held: &Held) -> sqlx::Result<u64> {
        run!(
            self,
            "UPDATE frame SET str_checkpoint_state = 'DISABLED' WHERE pk_frame = $1 AND str_state = 'RUNNING' AND int_version = $2",
            &held.frame,
            held.version
        )?;
        self.write_stop(held, "WAITING", 301).await
    }

    async fn recalculate(&mut self) -> String {
        if self.random.random_bool(0.5) {
            let ground = Arc::clone(&self.ground);
            let _recalculations = ground.recalculations.write().await;
            let done: Outcome<u64> = alone!(self, run!(self, "SELECT recalculate_subs()"));
            return format!("subscriptions ({done:?})");
        }
        let Some(host) = self.choose_key("host", "pk_host", "true").await else { return "no host".to_owned() };
        let done: Outcome<u64> = alone!(
            self,
            run!(
                self,
                "UPDATE host h SET int_mem_idle = h.int_mem - t.memory, int_gpu_mem_idle = h.int_gpu_mem - t.gpu_memory
                 FROM (SELECT coalesce(sum(int_mem_reserved), 0) AS memory, coalesce(sum(int_gpu_mem_reserved), 0) AS gpu_memory
                       FROM proc WHERE pk_host = $1) AS t
                 WHERE h.pk_host = $1",
                &host
            )
        );
        format!("memory of host {host} ({done:?})")
    }

    /// What somebody forgot to give back.
    async fn leak(&mut self) -> String {
        if self.random.random_bool(0.3) {
            let condition = "int_cores_idle >= 100";
            let Some(host) = self.choose_key("host", "pk_host", condition).await else { return "no host".to_owned() };
            let sql = "UPDATE host SET int_cores_idle = int_cores_idle - 100, int_mem_idle = int_mem_idle - 1024 WHERE pk_host = $1";
            let done: Outcome<u64> = alone!(self, run!(self, sql, &host));
            return format!("a core of host {host} ({done:?})");
        }
        // Of a show of ours: nobody repairs the others.
        let Some(job) = self.choose_key("job", "pk_job", "str_show <> 'legacy' AND str_state = 'PENDING'").await else {
            return "no job".to_owned();
        };
        let ground = Arc::clone(&self.ground);
        let _moves = ground.moves.read().await;
        if self.random.random_bool(0.5) {
            let counter = *Counter::ALL.choose(&mut self.random).unwrap();
            // A job takes along what its counter says, so that what only that says too much, others lack.
            if !matches!(counter, Counter::Job) {
                let done: Outcome<u64> = transaction!(self, self.leak_into(&[counter], &job).await);
                return format!("a core of the {counter:?} of job {job} ({done:?})");
            }
        }
        let done: Outcome<u64> = transaction!(self, self.leak_into(&Counter::ALL, &job).await);
        format!("a core of everything that counts job {job} ({done:?})")
    }

    /// Into one subscription of the job's show, and one of the job's layers.
    async fn leak_into(&mut self, counters: &[Counter], job: &str) -> sqlx::Result<u64> {
        let mut leaked = 0;
        let of_job =
            "SELECT j.pk_show, (SELECT min(pk_alloc) FROM subscription s WHERE s.pk_show = j.pk_show) AS pk_alloc,
                (SELECT min(pk_layer) FROM layer l WHERE l.pk_job = j.pk_job) AS pk_layer
            FROM job j WHERE pk_job = $1";
        let of_job = rows!(self, of_job, job)?;
        let column = |name| of_job[0].get::<String, _>(name);
        for counter in counters {
            let key = match counter {
                Counter::Subscription => column("pk_show"),
                Counter::Layer => column("pk_layer"),
                Counter::Job | Counter::Folder | Counter::Point => job.to_owned(),
            };
            leaked += run!(self, counter.subtraction(), &key, -100_i64, 0_i64, column("pk_alloc"))?;
        }
        Ok(leaked)
    }

    // Hosts -----------------------------------------------------------------------------------------------

    /// One host boots, or after a power cut all of them.
    async fn boot(&mut self) -> String {
        // Only of an empty one the report says that all is idle.
        let empty = "NOT EXISTS (SELECT FROM proc WHERE proc.pk_host = host.pk_host)";
        let which = if self.random.random_bool(0.7) { empty } else { "true" };
        let Some(host) = self.choose_key("host", "pk_host", which).await else { return "no host".to_owned() };
        let hosts = if self.random.random_bool(0.6) {
            vec![host]
        } else {
            let all = rows!(self, "SELECT pk_host FROM host ORDER BY md5(pk_host || $1)", host);
            all.unwrap().iter().map(|row| row.get(0)).collect()
        };
        let mut reset = Vec::new();
        for host in hosts {
            let sql = "UPDATE host_stat SET ts_booted = current_timestamp, ts_ping = current_timestamp, str_state = 'UP' WHERE pk_host = $1";
            let _: Outcome<u64> = alone!(self, run!(self, sql, &host));
            let done: Outcome<u64> = alone!(self, self.reset(&host).await);
            if done == Ok(1) {
                reset.push(host);
            }
        }
        format!("reset {reset:?}")
    }

    /// Whether a host is empty is asked in the statement that waits for it, and answered by what was there
    /// before the wait.
    async fn reset(&mut self, host: &str) -> sqlx::Result<u64> {
        let newer = self.ground.generation != Generation::G0;
        run!(
            self,
            "UPDATE host SET int_cores_idle = int_cores, int_mem_idle = int_mem, int_gpus_idle = int_gpus,
                 int_gpu_mem_idle = int_gpu_mem
             WHERE pk_host = $1 AND ((int_cores_idle = int_cores AND int_mem_idle = int_mem
                     AND int_gpus_idle = int_gpus AND int_gpu_mem_idle = int_gpu_mem)
                 OR ($2 AND NOT EXISTS (SELECT FROM proc WHERE proc.pk_host = host.pk_host)))",
            host,
            newer
        )
    }

    async fn report(&mut self) -> String {
        let Some(host) = self.choose_key("host", "pk_host", "true").await else { return "no host".to_owned() };
        let sql = "UPDATE host_stat SET ts_ping = current_timestamp, int_load = int_load + 1 WHERE pk_host = $1";
        let _: Outcome<u64> = alone!(self, run!(self, sql, &host));
        let procs =
            rows!(self, "SELECT pk_proc, pk_frame FROM proc WHERE pk_host = $1 AND pk_frame IS NOT NULL", &host)
                .unwrap();
        for row in procs.iter().take(4) {
            let (proc, frame): (String, String) = (row.get(0), row.get(1));
            let sql =
                "UPDATE proc SET ts_ping = current_timestamp, int_mem_used = 2048 WHERE pk_proc = $1 AND pk_frame = $2";
            let _: Outcome<u64> = alone!(self, run!(self, sql, &proc, &frame));
        }
        format!("host {host}, {} procs", procs.len())
    }

    async fn raise_memory(&mut self) -> String {
        let Some(held) = self.choose("f.str_state = 'RUNNING'").await else { return "nothing runs".to_owned() };
        let done: Outcome<u64> = alone!(
            self,
            run!(self, "UPDATE proc SET int_mem_reserved = int_mem_reserved + 262144 WHERE pk_proc = $1", &held.proc)
        );
        format!("proc {} ({done:?})", held.proc)
    }

    async fn checkpoint(&mut self) -> String {
        let Some(held) = self.choose("f.str_state = 'RUNNING'").await else { return "nothing runs".to_owned() };
        let sql = "UPDATE frame SET str_checkpoint_state = 'ENABLED' WHERE pk_frame = $1";
        let done: Outcome<u64> = alone!(self, run!(self, sql, &held.frame));
        format!("frame {:?} ({done:?})", held.frame)
    }

    /// Nobody has heard of a proc for longer than any sweep waits.
    async fn silence(&mut self) -> String {
        let Some(held) = self.choose("true").await else { return "no proc".to_owned() };
        let sql = "UPDATE proc SET ts_ping = ts_ping - interval '400 seconds' WHERE pk_proc = $1";
        let done: Outcome<u64> = alone!(self, run!(self, sql, &held.proc));
        format!("proc {} ({done:?})", held.proc)
    }

    async fn lock(&mut self) -> String {
        let Some(host) = self.choose_key("host", "pk_host", "true").await else { return "no host".to_owned() };
        let state = *["OPEN", "OPEN", "OPEN", "LOCKED", "NIMBY_LOCKED"].choose(&mut self.random).unwrap();
        let done: Outcome<u64> =
            alone!(self, run!(self, "UPDATE host SET str_lock_state = $2 WHERE pk_host = $1", &host, state));
        format!("host {host} is {state} ({done:?})")
    }

    /// A small host goes, unless something runs there, and comes back under its name with another key.
    async fn delete_host(&mut self) -> String {
        let Some(host) = self.choose_key("host", "pk_host", "int_cores = 200").await else {
            return "no host".to_owned();
        };
        let read = rows!(self, "SELECT str_name, pk_alloc, int_mem FROM host WHERE pk_host = $1", &host).unwrap();
        let Some(row) = read.first() else { return format!("host {host} was gone") };
        let (name, alloc, memory): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
        let deleted: Outcome<u64> = alone!(self, run!(self, "DELETE FROM host WHERE pk_host = $1", &host));
        if deleted != Ok(1) {
            return format!("host {host} stays ({deleted:?})");
        }
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..20))).await;
        let new = self.key();
        let made: Outcome<()> = transaction!(self, self.write_host(&new, &name, &alloc, memory).await);
        format!("host {host} is gone, {new} came ({made:?})")
    }

    async fn write_host(&mut self, host: &str, name: &str, alloc: &str, memory: i64) -> sqlx::Result<()> {
        run!(
            self,
            "INSERT INTO host (pk_host, pk_alloc, str_name, str_lock_state, int_procs, int_cores, int_cores_idle, int_mem, int_mem_idle)
             VALUES ($1, $2, $3, 'OPEN', 1, 200, 200, $4, $4)",
            host,
            alloc,
            name,
            memory
        )?;
        run!(self, "INSERT INTO host_stat (pk_host_stat, pk_host) VALUES ($1, $1)", host)?;
        run!(
            self,
            "INSERT INTO host_tag (pk_host_tag, pk_host, str_tag, str_tag_type, b_constant)
             SELECT $1, $1, str_tag, 'ALLOC', true FROM alloc WHERE pk_alloc = $2",
            host,
            alloc
        )?;
        run!(self, "SELECT recalculate_tags($1)", host)?;
        Ok(())
    }

    fn key(&mut self) -> String {
        Uuid::from_u128(self.random.random()).to_string()
    }

    // Cuebot's own bookings -------------------------------------------------------------------------------

    /// A frame of a show that is Cuebot's, or one of ours by a way that does not ask whose it is.
    async fn book_some(&mut self) -> String {
        let shows = if self.random.random_bool(0.7) { "s.str_name = 'legacy'" } else { "true" };
        let Some(target) = self.target(shows, "true").await else { return "nothing to book".to_owned() };
        self.book(&target).await
    }

    /// What was freed goes to the destination of the redirect, if it fits there.
    async fn book_redirected(&mut self, freed: &Held, job: &str) -> String {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..60))).await;
        let shows = match self.ground.generation {
            Generation::G5 => format!("j.pk_job = '{job}' AND s.str_name = 'legacy'"),
            _ => format!("j.pk_job = '{job}'"),
        };
        match self.target(&shows, &format!("h.pk_host = '{}'", freed.host)).await {
            Some(target) => self.book(&target).await,
            None => "nothing to book".to_owned(),
        }
    }

    async fn target(&mut self, shows: &str, hosts: &str) -> Option<Target> {
        let sql = format!(
            "SELECT f.pk_frame, f.str_name, f.int_version, f.pk_layer, f.pk_job, j.pk_show, h.pk_host, h.str_name AS host_name,
                h.pk_alloc, l.int_cores_min::int8 AS cores, l.int_mem_min AS memory, l.int_gpus_min::int8 AS gpus,
                l.int_gpu_mem_min AS gpu_memory
             FROM frame f JOIN layer l USING (pk_layer) JOIN job j ON j.pk_job = f.pk_job JOIN show s ON s.pk_show = j.pk_show
             JOIN host h ON h.str_lock_state = 'OPEN' AND h.int_cores_idle >= l.int_cores_min AND h.int_mem_idle >= l.int_mem_min
                 AND h.int_gpus_idle >= l.int_gpus_min AND h.int_gpu_mem_idle >= l.int_gpu_mem_min
             JOIN subscription sub ON sub.pk_show = j.pk_show AND sub.pk_alloc = h.pk_alloc AND sub.int_cores < sub.int_burst
             JOIN folder_resource fr ON fr.pk_folder = j.pk_folder AND (fr.int_max_cores = -1 OR fr.int_cores < fr.int_max_cores)
             JOIN job_resource jr ON jr.pk_job = j.pk_job AND jr.int_cores + l.int_cores_min < jr.int_max_cores
             WHERE f.str_state = 'WAITING' AND j.str_state = 'PENDING' AND NOT j.b_paused AND j.b_auto_book
                 AND NOT EXISTS (SELECT FROM layer_limit ll WHERE ll.pk_layer = l.pk_layer) AND {shows} AND {hosts}
             ORDER BY md5(f.pk_frame || h.pk_host || $1) LIMIT 1"
        );
        let nonce = self.nonce();
        let row = sqlx::query(AssertSqlSafe(sql)).bind(nonce).fetch_optional(&mut self.connection).await.unwrap()?;
        Some(Target {
            frame: row.get("pk_frame"),
            frame_name: row.get("str_name"),
            version: row.get("int_version"),
            layer: row.get("pk_layer"),
            job: row.get("pk_job"),
            show: row.get("pk_show"),
            host: row.get("pk_host"),
            host_name: row.get("host_name"),
            alloc: row.get("pk_alloc"),
            amounts: Amounts::of(&row),
        })
    }

    async fn book(&mut self, target: &Target) -> String {
        let ground = Arc::clone(&self.ground);
        let _moves = ground.moves.read().await;
        let proc = self.key();
        let booked: Outcome<bool> = transaction!(self, self.write_booking(target, &proc).await);
        if let Err(why) = &booked
            && !why.contains("lock")
        {
            let cleared: Outcome<u64> = alone!(self, self.clear(&target.frame, 299).await);
            return format!("frame {} refused: {why}; cleared {cleared:?}", target.frame);
        }
        format!("frame {} ({}) on {}, proc {proc}: {booked:?}", target.frame, target.frame_name, target.host_name)
    }

    async fn write_booking(&mut self, target: &Target, proc: &str) -> sqlx::Result<bool> {
        let Target { amounts, .. } = target;
        let taken = rows!(
            self,
            "SELECT pk_frame FROM frame WHERE pk_frame = $1 AND str_state = 'WAITING' AND int_version = $2 FOR UPDATE NOWAIT",
            &target.frame,
            target.version
        )?;
        if taken.is_empty() {
            return Ok(false);
        }
        run!(
            self,
            "UPDATE frame SET str_state = 'RUNNING', str_host = $3, int_cores = $4, int_mem_reserved = $5, int_gpus = $6,
                 int_gpu_mem_reserved = $7, ts_started = current_timestamp, ts_updated = current_timestamp,
                 ts_stopped = NULL, int_version = int_version + 1
             WHERE pk_frame = $1 AND str_state = 'WAITING' AND int_version = $2",
            &target.frame,
            target.version,
            &target.host_name,
            amounts.cores,
            amounts.memory,
            amounts.gpus,
            amounts.gpu_memory
        )?;
        run!(
            self,
            "UPDATE frame SET int_retries = int_retries + 1
             WHERE pk_frame = $1 AND int_exit_status NOT IN (-1, 256, 286, 299, 301, 302, 399)",
            &target.frame
        )?;
        run!(
            self,
            "INSERT INTO proc (pk_proc, pk_host, pk_show, pk_layer, pk_job, pk_frame, int_cores_reserved, int_mem_reserved,
                 int_mem_pre_reserved, int_mem_used, int_gpus_reserved, int_gpu_mem_reserved, int_gpu_mem_pre_reserved, b_local)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 262144, $9, $10, $10, false)",
            proc,
            &target.host,
            &target.show,
            &target.layer,
            &target.job,
            &target.frame,
            amounts.cores,
            amounts.memory,
            amounts.gpus,
            amounts.gpu_memory
        )?;
        run!(
            self,
            "UPDATE host SET int_cores_idle = int_cores_idle - $2, int_mem_idle = int_mem_idle - $3,
                 int_gpus_idle = int_gpus_idle - $4, int_gpu_mem_idle = int_gpu_mem_idle - $5 WHERE pk_host = $1",
            &target.host,
            amounts.cores,
            amounts.memory,
            amounts.gpus,
            amounts.gpu_memory
        )?;
        for counter in Counter::ALL {
            let key = match counter {
                Counter::Subscription => &target.show,
                Counter::Layer => &target.layer,
                Counter::Job | Counter::Folder | Counter::Point => &target.job,
            };
            run!(self, counter.subtraction(), key, -amounts.cores, -amounts.gpus, &target.alloc)?;
        }
        Ok(true)
    }

    // After a round ---------------------------------------------------------------------------------------

    /// What agents and sweeps still have to say once everybody has ended: strays are reported, checkpoints
    /// are written, and hosts that Cuebot has given too much get rid of it.
    pub(super) async fn settle(&mut self) -> u32 {
        let strays = self.end_strays(None).await;
        while let Some(held) = self
            .choose(
                "f.str_state = 'RUNNING' AND h.pk_host IN (
                     SELECT x.pk_host FROM host x JOIN proc y USING (pk_host) GROUP BY x.pk_host
                     HAVING sum(y.int_cores_reserved) > x.int_cores OR sum(y.int_mem_reserved) > x.int_mem
                         OR sum(y.int_gpus_reserved) > x.int_gpus OR sum(y.int_gpu_mem_reserved) > x.int_gpu_mem)",
            )
            .await
        {
            self.complete(held, 0).await;
        }
        strays
    }
}

/// The counters, in the order in which everybody writes them.
#[derive(Clone, Copy, Debug)]
enum Counter {
    Subscription,
    Layer,
    Job,
    Folder,
    Point,
}

impl Counter {
    const ALL: [Self; 5] = [Self::Subscription, Self::Layer, Self::Job, Self::Folder, Self::Point];

    /// $1 the show, layer or job, $2 centicores, $3 GPUs, $4 the allocation.
    const fn subtraction(self) -> &'static str {
        match self {
            Self::Subscription => {
                "UPDATE subscription SET int_cores = int_cores - $2, int_gpus = int_gpus - $3 WHERE pk_show = $1 AND pk_alloc = $4::text"
            }
            Self::Layer => {
                "UPDATE layer_resource SET int_cores = int_cores - $2, int_gpus = int_gpus - $3 WHERE pk_layer = $1 AND $4::text IS NOT NULL"
            }
            Self::Job => {
                "UPDATE job_resource SET int_cores = int_cores - $2, int_gpus = int_gpus - $3 WHERE pk_job = $1 AND $4::text IS NOT NULL"
            }
            Self::Folder => {
                "UPDATE folder_resource SET int_cores = int_cores - $2, int_gpus = int_gpus - $3
                 WHERE pk_folder = (SELECT pk_folder FROM job WHERE pk_job = $1) AND $4::text IS NOT NULL"
            }
            Self::Point => {
                "UPDATE point SET int_cores = int_cores - $2, int_gpus = int_gpus - $3
                 WHERE (pk_dept, pk_show) = (SELECT pk_dept, pk_show FROM job WHERE pk_job = $1) AND $4::text IS NOT NULL"
            }
        }
    }
}
