//! The settings as a tree of the same shape as the file, with the built-in defaults.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use smart_default::SmartDefault;
use strum::{Display, EnumString, VariantNames};

use crate::model::{self, AllocTag, GpuKeep, HostStrategy, JobOrder, LoadRule, Policy, Selection, TagChunkSizes};
use crate::units::Kib;

/// Everything an operator may set. Each field is the key of the same path in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The version of this program for which the settings were written; `None`: the first, or the retired service.
    pub written_for: Option<Version>,
    pub logging: Logging,
    pub database: Database,
    pub rqd: Rqd,
    pub queue: Queue,
    pub host_cache: HostCache,
    pub scheduler: Scheduler,
    pub accounting: Accounting,
}

/// A version of this program.
#[derive(Clone, Copy, Debug, derive_more::Display, PartialEq, Eq, PartialOrd, Ord)]
#[display("{_0}.{_1}.{_2}")]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// The first that had settings.
    pub(super) const FIRST: Self = Self(2, 0, 0);
    /// Of this program.
    pub const CURRENT: Self = Self(
        number(env!("CARGO_PKG_VERSION_MAJOR")),
        number(env!("CARGO_PKG_VERSION_MINOR")),
        number(env!("CARGO_PKG_VERSION_PATCH")),
    );
}

const fn number(text: &str) -> u16 {
    match u16::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("the package's version is of three numbers"),
    }
}

#[derive(Clone, Debug, PartialEq, SmartDefault)]
pub struct Logging {
    /// Filter directive: a level, or several `target=level`, comma-separated.
    #[default("info,sqlx=warn".to_owned())]
    pub level: String,
    pub format: LogFormat,
    /// Also to `path`, besides standard error.
    pub file_appender: bool,
    #[default("/opt/rqd/logs/scheduler.log".into())]
    pub path: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum LogFormat {
    #[default]
    Text,
    /// One object a line.
    Json,
}

#[derive(Clone, Debug, PartialEq, SmartDefault)]
pub struct Database {
    /// Most connections held at once.
    #[default(20)]
    pub pool_size: u32,
    /// Host name, address, or the folder of a Unix socket (begins with `/`).
    #[default("localhost".to_owned())]
    pub db_host: String,
    #[default(5432)]
    pub db_port: u16,
    #[default("cuebot".to_owned())]
    pub db_name: String,
    #[default("cuebot".to_owned())]
    pub db_user: String,
    /// Also holds what was read from the file that `db_pass_file` names.
    pub db_pass: Option<Secret>,
    pub db_pass_file: Option<PathBuf>,
    pub tls: Tls,
    /// Certificates to trust instead of the public authorities, in PEM.
    pub tls_root_certificate: Option<PathBuf>,
    /// Whether a server on another machine may be given the password as it stands, over a connection that
    /// is not encrypted.
    pub allow_cleartext_password: bool,
}

/// How connections to the database are encrypted; the words of PostgreSQL's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(serialize_all = "kebab-case", ascii_case_insensitive)]
pub enum Tls {
    Disable,
    /// Encrypted when the server offers it.
    #[default]
    Prefer,
    /// Encrypted, whoever answers.
    Require,
    /// And the certificate is signed by a trusted authority.
    VerifyCa,
    /// And it names the host.
    VerifyFull,
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself; for whom it was made for, never for a message.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Debug, PartialEq, SmartDefault)]
pub struct Rqd {
    pub agents: AgentSettings,
    /// Plan and report only: nothing is booked, nothing is launched.
    pub dry_run_mode: bool,
    pub fractional_cores: FractionalCores,
    /// A launch that could not be sent this long after its booking is taken back unsent.
    #[default(Duration::from_secs(20))]
    pub launch_deadline: Duration,
    /// Between the two "not running" answers of a host that settle an unknown launch.
    #[default(Duration::from_secs(7))]
    pub confirm_interval: Duration,
    /// Unknown outcomes in a row after which a host is put aside; 0: never.
    #[default(2)]
    pub breaker_failures: u32,
    /// How long a host that refuses or fails launches is put aside.
    #[default(Duration::from_mins(1))]
    pub breaker_cool_down: Duration,
}

/// How agents are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SmartDefault)]
pub struct AgentSettings {
    /// The port that every agent of the farm listens on.
    #[default(8444)]
    pub port: u16,
    /// From looking the name up to an open connection.
    #[default(Duration::from_secs(3))]
    pub connect_timeout: Duration,
    /// From sending a call to its answer; then the outcome of a launch counts as unknown. Also told to the
    /// agent, which drops a call that waited longer instead of starting it late.
    #[default(Duration::from_secs(10))]
    pub call_timeout: Duration,
    /// Calls to hosts that answer that are being made at once, and as many to hosts that have not answered
    /// lately; without those that are late.
    #[default(256)]
    pub calls_in_flight_max: usize,
    /// A call that has no answer by then is late, and leaves its place to others; no key sets it.
    #[default(Duration::from_millis(500))]
    pub late_after: Duration,
    /// Calls to one host that are being made at once; agents start frames one after the other. One that has
    /// not answered lately gets one.
    #[default(4)]
    pub calls_per_host_max: usize,
    /// Connections kept on a farm of any size, which no key sets; beyond it the longest unused ones are closed.
    #[default(8_192)]
    pub connections_max: usize,
}

/// What the layer's minimum memory is multiplied with to get the limits that an agent with Docker
/// sets on the frame.
#[derive(Clone, Copy, Debug, PartialEq, SmartDefault)]
pub struct MemoryLimitFactors {
    #[default(1.6)]
    pub soft: f64,
    #[default(2.0)]
    pub hard: f64,
}

/// Whether agents take fractions of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(ascii_case_insensitive)]
pub enum FractionalCores {
    /// All do: fractions are booked as they are.
    #[strum(serialize = "true")]
    Yes,
    /// Some do not: fractions are rounded up when planned.
    #[strum(serialize = "false")]
    No,
    /// Booked as they are until an agent refuses one, rounded up from then on.
    #[default]
    #[strum(serialize = "auto")]
    Auto,
}

#[derive(Clone, Debug, PartialEq, SmartDefault)]
pub struct Queue {
    /// Longest time between two full looks at the farm.
    #[default(Duration::from_secs(5))]
    pub monitor_interval: Duration,
    /// Time between two cheap looks for changes while idle.
    #[default(Duration::from_millis(250))]
    pub active_scan_interval: Duration,
    /// Rest after a pass that placed nothing although work waits.
    #[default(Duration::from_millis(250))]
    pub cluster_saturated_sleep: Duration,
    /// Time between two rebuilds of the clusters.
    #[default(Duration::from_mins(2))]
    pub cluster_reload_interval: Duration,
    /// Threads of the runtime.
    #[default(4)]
    pub worker_threads: usize,
    /// Frames that a layer may place before the next one has its turn; turns repeat.
    #[default(Policy::default().frames_per_layer_turn)]
    pub dispatch_frames_per_layer_limit: u32,
    /// Frames that one pass may place.
    #[default(Policy::default().frames_per_pass_max)]
    pub frames_per_pass_limit: u32,
    pub job_order: JobOrder,
    /// Which of the fitting hosts is taken first.
    pub host_booking_strategy: HostStrategy,
    /// Whose load the load is that hosts report, as far as it takes idle cores away.
    pub host_load: LoadRule,
    /// A threadable frame that would leave at most this much idle memory takes all whole idle cores.
    #[default(Policy::default().memory_stranded_threshold)]
    pub memory_stranded_threshold: Kib,
    /// What hosts with idle GPUs keep for GPU work.
    pub gpu_keep: GpuKeep,
    /// Services whose threadable frames take all whole idle cores.
    pub selfish_services: Vec<String>,
    /// How long a layer is held back whose launches keep failing.
    #[default(Duration::from_mins(5))]
    pub job_back_off_duration: Duration,
    /// How long a frame keeps off the host on which it failed, while others may have room. 0: not at all.
    #[default(Duration::from_mins(1))]
    pub retry_elsewhere: Duration,
    /// Whether a host rests on which frames of several jobs fail at once while they run elsewhere.
    #[default(true)]
    pub rest_failing_hosts: bool,
    /// Cuebot's `dispatcher.layer_delay.rules`: exit statuses after which a run is no retry.
    pub layer_delay_rules: Vec<DelayRule>,
    pub tag_chunk_sizes: TagChunkSizes,
    /// Frames booked by one transaction.
    #[default(250)]
    pub booking_chunk_size: usize,
    /// Such transactions at once.
    #[default(3)]
    pub booking_chunks_in_flight: usize,
    /// Cuebot's `limit.settle_window_seconds`: how long a report of licence use may lag behind.
    #[default(model::LIMIT_SETTLE_WINDOW)]
    pub limit_settle_window: Duration,
    pub memory_limits: MemoryLimitFactors,
    /// End after so many full looks in a row that found nothing waiting; for tests.
    pub empty_job_cycles_before_quiting: Option<u32>,
    /// When no host report means that Cuebot does not answer.
    pub cuebot_silence: CuebotSilence,
    /// So long after such a silence, bookings without a sign of life may be given back.
    #[default(Duration::from_secs(30))]
    pub lost_after: Duration,
    /// Longest time that a stop waits for launches under way.
    #[default(Duration::from_secs(20))]
    pub shutdown_timeout: Duration,
    /// Where the metrics and health pages listen.
    #[default(Ipv4Addr::LOCALHOST.into())]
    pub metrics_address: IpAddr,
    /// 0: any free port, which the log names.
    #[default(9090)]
    pub metrics_port: u16,
}

/// What Cuebot is told of an exit status after which it delays the layer.
#[derive(Clone, Debug, derive_more::Display, PartialEq, Eq)]
#[display("{text}")]
pub struct DelayRule {
    pub exit_status: i64,
    /// The whole rule, as Cuebot has it.
    pub text: String,
}

/// When the farm's silence is Cuebot's: then nothing is booked or launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CuebotSilence {
    /// By what is ordinary on this farm.
    #[default]
    Auto,
    /// When no host has reported for so long.
    After(Duration),
    /// Never, and no host is overdue.
    Off,
}

#[derive(Clone, Debug, PartialEq, SmartDefault)]
pub struct HostCache {
    /// A host whose last report is older takes nothing.
    #[default(model::HOST_STALENESS)]
    pub host_staleness_threshold: Duration,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scheduler {
    pub facility: Option<String>,
    pub alloc_tags: Vec<AllocTag>,
    pub manual_tags: Vec<String>,
    pub ignore_tags: Vec<String>,
    /// What to do while Cuebot's own planner is active.
    pub beside_maestro: BesideMaestro,
    /// What to do with a show whose scheduler flag is switched off meanwhile.
    pub flag_off: FlagOff,
    /// What to do with work whose environment declares licences.
    pub cue_licenses: CueLicenses,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum BesideMaestro {
    /// Book nothing and say why.
    #[default]
    Refuse,
    /// Book all the same: somebody made sure that its shows are not ours.
    Book,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum FlagOff {
    /// Say so, and book the show no more once every Cuebot may know.
    #[default]
    Stop,
    /// Say so, and go on.
    Keep,
}

/// `CUE_LICENSES`, by which Cuebot's own planner counts licences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum CueLicenses {
    /// Nobody counts them.
    #[default]
    Book,
    Refuse,
}

#[derive(Clone, Debug, PartialEq, SmartDefault)]
pub struct Accounting {
    /// Time between two repairs of the counters of owned shows.
    #[default(Duration::from_secs(15))]
    pub recompute_interval: Duration,
}

impl Config {
    /// What the planner is told. With [`FractionalCores::Auto`] fractions are kept at first; whoever
    /// learns of a refusal changes the policy.
    pub fn policy(&self) -> Policy {
        Policy {
            job_order: self.queue.job_order,
            frames_per_layer_turn: self.queue.dispatch_frames_per_layer_limit,
            frames_per_pass_max: self.queue.frames_per_pass_limit,
            host_strategy: self.queue.host_booking_strategy,
            host_load: self.queue.host_load,
            fractional_cores: match self.rqd.fractional_cores {
                FractionalCores::Yes | FractionalCores::Auto => model::FractionalCores::Keep,
                FractionalCores::No => model::FractionalCores::RoundUp,
            },
            memory_stranded_threshold: self.queue.memory_stranded_threshold,
            gpu_keep: self.queue.gpu_keep,
            selfish_services: self.queue.selfish_services.iter().cloned().collect(),
        }
    }

    pub fn selection(&self) -> Selection {
        Selection {
            facility: self.scheduler.facility.clone(),
            alloc_tags: self.scheduler.alloc_tags.clone(),
            manual_tags: self.scheduler.manual_tags.clone(),
            ignore_tags: self.scheduler.ignore_tags.clone(),
        }
    }

    pub const fn chunk_sizes(&self) -> TagChunkSizes {
        self.queue.tag_chunk_sizes
    }
}
