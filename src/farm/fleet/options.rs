//! What the hosts of a fleet are and how they behave.

use std::net::SocketAddr;
use std::time::Duration;

use crate::farm::seed::Seeded;
use crate::units::Amounts;

/// One simulated host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetHost {
    /// A loopback address of its own as text, such as `127.1.0.1`: the name in all reports, and where
    /// the host listens.
    pub name: String,
    /// What `host.int_cores`, `int_mem`, `int_gpus` and `int_gpu_mem` say of it.
    pub total: Amounts,
    pub facility: String,
    pub os: String,
    /// Hardware tags, as the boot report carries them.
    pub tags: Vec<String>,
}

impl FleetHost {
    /// The hosts of a seeded farm. Their tags stay out of the reports, as they have rows.
    #[must_use]
    pub fn all_of(seeded: &Seeded) -> Vec<Self> {
        let hosts = seeded.hosts.iter().map(|host| Self {
            name: host.name.clone(),
            total: host.total,
            facility: seeded.facility_name.clone(),
            os: host.os.clone(),
            tags: Vec::new(),
        });
        hosts.collect()
    }

    /// A Linux host of facility `local` without tags.
    #[must_use]
    pub fn new(name: impl Into<String>, total: Amounts) -> Self {
        Self { name: name.into(), total, facility: "local".to_owned(), os: "Linux".to_owned(), tags: Vec::new() }
    }
}

#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// Where reports go; `None`: nothing is reported.
    pub report_to: Option<SocketAddr>,
    pub run_time: RunTime,
    /// Time between two status reports of one host. The hosts take turns within it.
    pub report_interval: Duration,
    /// Shortest time between two reports: each is drawn between this and `report_interval`, as the real
    /// agent does. `None`: they are steady.
    pub report_interval_min: Option<Duration>,
    /// Whether every host sends a boot report before the fleet counts as started.
    pub boot_reports: bool,
    /// How often a completion is sent until it is answered. The real agent tries once and then loses
    /// it; a sandbox would wait minutes for Cuebot to notice, so it insists.
    pub completion_attempts_max: u32,
    /// Hosts take the kinds in turn.
    pub agents: Vec<AgentKind>,
    pub faults: Faults,
    /// Draws run times, faults and times of reports. What a frame meets depends on this, on its id and on how often it
    /// was launched before, never on what else happens.
    pub seed: u64,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            report_to: None,
            run_time: RunTime::Between(Duration::from_millis(500), Duration::from_millis(1500)),
            report_interval: Duration::from_secs(5),
            report_interval_min: None,
            boot_reports: false,
            completion_attempts_max: 60,
            agents: vec![AgentKind::Python],
            faults: Faults::default(),
            seed: 1,
        }
    }
}

/// How long a frame runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunTime {
    Fixed(Duration),
    /// Drawn evenly, both ends included.
    Between(Duration, Duration),
    /// As long as a command of the form `sleep SECONDS` says; any other command runs this long.
    Command(Duration),
}

/// Whose refusals and status answers the hosts give; the two published agents differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentKind {
    /// Refuses with UNKNOWN, takes fractions of cores unless the frame is threadable, cannot tell the
    /// status of a frame.
    #[default]
    Python,
    /// Refuses with `INVALID_ARGUMENT` and ABORTED, fractions of cores and ids that are no UUID too.
    Rust,
}

/// A command that fails at once on every host, as it does in a shell.
pub(super) const FAILING_COMMAND: &str = "false";

/// A variable in the environment of frames that every agent refuses.
pub const REFUSED_VARIABLE: &str = "SANDBOX_REFUSED";

/// What goes wrong, as shares of all launches (0 to 1). A launch meets at most one of the five that
/// decide its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Answered no; the frame does not run.
    pub refuse: f64,
    /// The connection breaks before the host has seen the launch; the frame does not run.
    pub lose_request: f64,
    /// The frame runs, and the connection breaks instead of an answer.
    pub lose_answer: f64,
    /// The frame runs, and the answer is UNAVAILABLE.
    pub fail_answer: f64,
    /// The frame runs, and the answer comes after `answer_delay`.
    pub delay_answer: f64,
    pub answer_delay: Duration,
    /// Taken up only after `start_delay`, whether the caller still waits or not, whatever else it meets then.
    pub delay_start: f64,
    pub start_delay: Duration,
    /// Share of runs that end with exit status 1.
    pub fail_frame: f64,
    /// Share of runs whose completion is never reported, as when the real agent finds Cuebot away.
    pub lose_completion: f64,
}
