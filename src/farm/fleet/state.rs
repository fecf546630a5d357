//! What the hosts know: what runs on each, what they ever accepted, what went wrong on purpose.
//! Everything here happens under one lock, at once and without waiting.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::counts::FleetCounts;
use super::draw::{Draw, Fate, draw, sleep_of};
use super::options::{AgentKind, FAILING_COMMAND, Faults, FleetHost, FleetOptions, REFUSED_VARIABLE, RunTime};
use crate::farm::launch::Launch;
use crate::model::{FrameId, ProcId};
use crate::rqd::proto::host::HardwareState;
use crate::rqd::proto::report::{
    BootReport, CoreDetail, FrameCompleteReport, HostReport, RenderHost, RunningFrameInfo,
};
use crate::rqd::proto::rqd::RunFrame;

/// Memory in KiB that every running frame shows in the reports.
const FRAME_MEMORY_KIB: i64 = 262_144;
/// What Cuebot keeps back of a machine's memory when it writes `host.int_mem`, in KiB.
const SYSTEM_MEMORY_KIB: i64 = 524_288;
const SWAP_KIB: i64 = 8 * 1_048_576;
const TEMPORARY_KIB: i64 = 100 * 1_048_576;

pub(super) struct State {
    pub(super) hosts: Vec<Host>,
    pub(super) launches: Vec<Launch>,
    pub(super) faults: Faults,
    pub(super) counts: FleetCounts,
    /// Launch calls so far by frame.
    arrivals: HashMap<String, u32>,
    run_time: RunTime,
    agents: Vec<AgentKind>,
    seed: u64,
}

pub(super) struct Host {
    pub(super) spec: FleetHost,
    /// Cancelled when the host dies: its listener, its connections and its reports end with it.
    pub(super) life: CancellationToken,
    /// Takes calls and never answers any; it goes on reporting.
    pub(super) is_mute: bool,
    booted_at: i32,
    locked_cores: i64,
    /// Every frame fails here at once.
    pub(super) fails_all: bool,
    /// By frame id.
    running: BTreeMap<String, Running>,
    load: Load,
}

/// The average of the cores that run, as a kernel forgets: what was a minute ago counts for a third.
struct Load {
    hundredths: f64,
    at: Instant,
}

impl Load {
    const MEMORY: Duration = Duration::from_mins(1);

    /// When so many cores have run since it was last told.
    #[expect(clippy::cast_precision_loss, reason = "no host has so many cores")]
    fn after(&self, running: i64, now: Instant) -> f64 {
        let running = running as f64;
        let forgotten = (-(now - self.at).as_secs_f64() / Self::MEMORY.as_secs_f64()).exp();
        running + (self.hundredths - running) * forgotten
    }
}

struct Running {
    launch: usize,
    fails: bool,
    completion_lost: bool,
    info: RunningFrameInfo,
}

/// What the service does with a launch call.
pub(super) enum Verdict {
    Answer(Result<(), Status>),
    /// Started; the answer comes later.
    AnswerAfter(Duration),
    /// No answer: the connection breaks.
    Cut,
}

/// A run that began, for the timer that ends it.
pub(super) struct Started {
    pub(super) launch: usize,
    pub(super) ends_at: Instant,
}

impl State {
    pub(super) fn new(hosts: Vec<FleetHost>, options: &FleetOptions) -> Self {
        Self {
            hosts: hosts.into_iter().map(Host::new).collect(),
            launches: Vec::new(),
            faults: options.faults,
            counts: FleetCounts::default(),
            arrivals: HashMap::new(),
            run_time: options.run_time,
            agents: options.agents.clone(),
            seed: options.seed,
        }
    }

    pub(super) fn launch(&mut self, host: usize, frame: Option<RunFrame>) -> (Verdict, Option<Started>) {
        if !self.hosts[host].is_up() {
            return (Verdict::Cut, None);
        }
        self.counts.launch_calls += 1;
        let frame = frame.unwrap_or_default();
        let drawn = self.draw(&frame.frame_id);
        *self.arrivals.entry(frame.frame_id.clone()).or_default() += 1;
        if drawn.fate == Fate::RequestLost {
            self.counts.requests_lost += 1;
            return (Verdict::Cut, None);
        }
        let answer = match drawn.fate {
            Fate::Refused => Err(refusal(self.agent(host), "the host was told to refuse".to_owned(), Code::Aborted)),
            _ => self.check(host, &frame),
        };
        if let Err(status) = answer {
            self.counts.refused += 1;
            return (Verdict::Answer(Err(status)), None);
        }
        let started = self.start(host, &frame, &drawn);
        let verdict = match drawn.fate {
            Fate::AnswerLost => {
                self.counts.answers_lost += 1;
                Verdict::Cut
            }
            Fate::AnswerFailed => {
                self.counts.answers_failed += 1;
                Verdict::Answer(Err(Status::unavailable("the host was told to lose its answer")))
            }
            Fate::AnswerDelayed => {
                self.counts.answers_delayed += 1;
                Verdict::AnswerAfter(self.faults.answer_delay)
            }
            Fate::Answered | Fate::Refused | Fate::RequestLost => Verdict::Answer(Ok(())),
        };
        (verdict, Some(started))
    }

    fn agent(&self, host: usize) -> AgentKind {
        self.agents.get(host % self.agents.len().max(1)).copied().unwrap_or_default()
    }

    /// How long a launch lies about before it is taken up.
    pub(super) fn start_delay(&self, frame: &str) -> Duration {
        if self.draw(frame).starts_late { self.faults.start_delay } else { Duration::ZERO }
    }

    fn draw(&self, frame: &str) -> Draw {
        let arrivals = self.arrivals.get(frame).copied().unwrap_or_default();
        draw(self.seed, frame, arrivals, &self.faults, self.run_time)
    }

    /// The refusals of the real agents, in the codes of each; the words are ours.
    fn check(&self, host: usize, frame: &RunFrame) -> Result<(), Status> {
        use crate::rqd::proto::rqd::run_frame::UidOptional;

        let agent = self.agent(host);
        let host = &self.hosts[host];
        let refuse = |text: String, rust_code| Err(refusal(agent, text, rust_code));
        let is_rust = agent == AgentKind::Rust;
        if frame.environment.contains_key(REFUSED_VARIABLE) {
            return refuse(format!("{REFUSED_VARIABLE} is set"), Code::Aborted);
        }
        if frame.num_cores <= 0 || (is_rust && frame.num_cores % 100 != 0) {
            return refuse(format!("cannot run with numCores={}", frame.num_cores), Code::InvalidArgument);
        }
        if let Some(UidOptional::Uid(uid @ ..1)) = frame.uid_optional {
            return refuse(format!("cannot run as uid={uid}"), Code::InvalidArgument);
        }
        if is_rust && uuid::Uuid::try_parse(&frame.frame_id).is_err() {
            return refuse(format!("{:?} is no id", frame.frame_id), Code::InvalidArgument);
        }
        if host.running.contains_key(&frame.frame_id) {
            return refuse(format!("frame {} runs already", frame.frame_id), Code::InvalidArgument);
        }
        let idle = host.idle_cores();
        if i64::from(frame.num_cores) > idle {
            return refuse(format!("not enough idle cores: {idle} of {}", frame.num_cores), Code::Aborted);
        }
        if i64::from(frame.num_gpus) > host.idle_gpus() {
            return refuse(format!("not enough GPUs for {}", frame.num_gpus), Code::Aborted);
        }
        let is_threadable = frame.environment.get("CUE_THREADABLE").is_some_and(|value| value == "1");
        if is_threadable && frame.num_cores % 100 != 0 {
            return refuse(format!("no hyperthreading with numCores={}", frame.num_cores), Code::InvalidArgument);
        }
        Ok(())
    }

    fn start(&mut self, number: usize, frame: &RunFrame, drawn: &Draw) -> Started {
        let host = &mut self.hosts[number];
        let fails_at_once = host.fails_all || frame.command == FAILING_COMMAND;
        let run_time = match self.run_time {
            _ if fails_at_once => Duration::ZERO,
            RunTime::Command(_) => sleep_of(&frame.command).unwrap_or(drawn.run_time),
            RunTime::Fixed(_) | RunTime::Between(..) => drawn.run_time,
        };
        let started_at = Instant::now();
        let launch = self.launches.len();
        self.launches.push(Launch {
            frame: FrameId::new(&frame.frame_id),
            resource: ProcId::new(&frame.resource_id),
            host: host.spec.name.clone(),
            started_at,
            ended_at: None,
        });
        self.counts.accepted += 1;
        self.counts.running += 1;
        if host.running.is_empty() {
            self.counts.hosts_busy += 1;
        }
        let running = Running {
            launch,
            fails: fails_at_once || drawn.frame_fails,
            completion_lost: drawn.completion_lost,
            info: info_of(frame),
        };
        host.note_load();
        host.running.insert(frame.frame_id.clone(), running);
        Started { launch, ends_at: started_at + run_time }
    }

    /// The run's own end. The report of it, unless the run is over already or its report gets lost.
    pub(super) fn end(&mut self, host: usize, launch: usize) -> Option<FrameCompleteReport> {
        let frame = self.launches[launch].frame.clone();
        if self.hosts[host].running.get(frame.as_str()).is_none_or(|running| running.launch != launch) {
            return None;
        }
        let running = self.take(host, frame.as_str())?;
        self.counts.completed += 1;
        self.report_of(host, running, |fails| (i32::from(fails), 0))
    }

    /// Ends the run as the agent does when told to. `Err`: no such frame runs here.
    pub(super) fn kill(
        &mut self,
        host: usize,
        frame: &str,
        message: &str,
    ) -> Result<Option<FrameCompleteReport>, Status> {
        if self.agent(host) == AgentKind::Rust && message.is_empty() {
            return Err(Status::failed_precondition("a kill needs its reason"));
        }
        let Some(running) = self.take(host, frame) else {
            return Err(Status::not_found(format!("frame {frame} does not run here")));
        };
        self.counts.killed += 1;
        Ok(self.report_of(host, running, |_| (1, 9)))
    }

    pub(super) fn status(&self, host: usize, frame: &str) -> Result<RunningFrameInfo, Status> {
        let running = self.hosts[host].running.get(frame);
        match (self.agent(host), running) {
            (AgentKind::Python, _) => Err(Status::unknown("the agent cannot tell")),
            (AgentKind::Rust, Some(running)) => Ok(running.info.clone()),
            (AgentKind::Rust, None) => Err(Status::not_found(format!("frame {frame} does not run here"))),
        }
    }

    /// Takes the host off the net with everything on it.
    pub(super) fn die(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        if !host.is_up() {
            return;
        }
        host.life.cancel();
        let vanished = std::mem::take(&mut host.running);
        let now = Instant::now();
        for running in vanished.values() {
            self.launches[running.launch].ended_at = Some(now);
        }
        self.counts.running -= vanished.len();
        self.counts.vanished += vanished.len();
        self.counts.hosts_busy -= usize::from(!vanished.is_empty());
        self.counts.hosts_died += 1;
    }

    /// A new life for a dead host. `false` when it lives.
    pub(super) fn revive(&mut self, host: usize) -> bool {
        let host = &mut self.hosts[host];
        if host.is_up() {
            return false;
        }
        *host = Host::new(host.spec.clone());
        self.counts.hosts_revived += 1;
        true
    }

    pub(super) fn boot_report(&self, host: usize) -> BootReport {
        let host = &self.hosts[host];
        BootReport { host: Some(host.render_host()), core_info: Some(host.core_detail()) }
    }

    pub(super) fn host_report(&self, host: usize) -> HostReport {
        let host = &self.hosts[host];
        HostReport {
            host: Some(host.render_host()),
            frames: host.running.values().map(|running| running.info.clone()).collect(),
            core_info: Some(host.core_detail()),
        }
    }

    /// Locks (positive) or unlocks (negative) as many cores as there are.
    pub(super) fn lock(&mut self, host: usize, cores: i64) {
        let host = &mut self.hosts[host];
        host.locked_cores = host.locked_cores.saturating_add(cores).clamp(0, host.spec.total.cores.get());
    }

    fn take(&mut self, host: usize, frame: &str) -> Option<Running> {
        let host = &mut self.hosts[host];
        host.note_load();
        let running = host.running.remove(frame)?;
        self.launches[running.launch].ended_at = Some(Instant::now());
        self.counts.running -= 1;
        self.counts.hosts_busy -= usize::from(host.running.is_empty());
        Some(running)
    }

    fn report_of(
        &mut self,
        host: usize,
        running: Running,
        exit: impl FnOnce(bool) -> (i32, i32),
    ) -> Option<FrameCompleteReport> {
        if running.completion_lost {
            self.counts.completions_lost += 1;
            return None;
        }
        let (exit_status, exit_signal) = exit(running.fails);
        let ran = self.launches[running.launch].started_at.elapsed();
        Some(FrameCompleteReport {
            host: Some(self.hosts[host].render_host()),
            frame: Some(running.info),
            exit_status,
            exit_signal,
            run_time: i32::try_from(ran.as_secs()).unwrap_or(i32::MAX),
        })
    }
}

impl Host {
    fn new(spec: FleetHost) -> Self {
        let booted = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            spec,
            life: CancellationToken::new(),
            is_mute: false,
            booted_at: i32::try_from(booted.as_secs()).unwrap_or(i32::MAX),
            locked_cores: 0,
            fails_all: false,
            running: BTreeMap::new(),
            load: Load { hundredths: 0.0, at: Instant::now() },
        }
    }

    /// To be called before what runs here changes.
    fn note_load(&mut self) {
        let now = Instant::now();
        self.load = Load { hundredths: self.load.after(self.booked_cores(), now), at: now };
    }

    pub(super) fn is_up(&self) -> bool {
        !self.life.is_cancelled()
    }

    fn booked_cores(&self) -> i64 {
        self.running.values().map(|running| i64::from(running.info.num_cores)).sum()
    }

    fn idle_cores(&self) -> i64 {
        (self.spec.total.cores.get() - self.locked_cores - self.booked_cores()).max(0)
    }

    fn idle_gpus(&self) -> i64 {
        self.spec.total.gpus.get() - self.running.values().map(|running| i64::from(running.info.num_gpus)).sum::<i64>()
    }

    fn render_host(&self) -> RenderHost {
        let total = &self.spec.total;
        let total_memory = total.memory.get() + SYSTEM_MEMORY_KIB;
        let frames = i64::try_from(self.running.len()).unwrap_or(i64::MAX);
        let used_memory = FRAME_MEMORY_KIB.saturating_mul(frames).min(total_memory);
        RenderHost {
            name: self.spec.name.clone(),
            facility: self.spec.facility.clone(),
            num_procs: 1,
            cores_per_proc: wire(total.cores.get()),
            total_swap: SWAP_KIB,
            free_swap: SWAP_KIB,
            total_mem: total_memory,
            free_mem: total_memory - used_memory,
            total_mcp: TEMPORARY_KIB,
            free_mcp: TEMPORARY_KIB,
            #[expect(clippy::cast_possible_truncation, reason = "hundredths of cores that there are")]
            load: self.load.after(self.booked_cores(), Instant::now()).round() as i32,
            boot_time: self.booted_at,
            tags: self.spec.tags.clone(),
            state: HardwareState::Up.into(),
            attributes: [("SP_OS".to_owned(), self.spec.os.clone())].into(),
            num_gpus: wire(total.gpus.get()),
            free_gpu_mem: total.gpu_memory.get(),
            total_gpu_mem: total.gpu_memory.get(),
            ..RenderHost::default()
        }
    }

    fn core_detail(&self) -> CoreDetail {
        CoreDetail {
            total_cores: wire(self.spec.total.cores.get()),
            idle_cores: wire(self.idle_cores()),
            locked_cores: wire(self.locked_cores),
            booked_cores: wire(self.booked_cores()),
            ..CoreDetail::default()
        }
    }
}

fn info_of(frame: &RunFrame) -> RunningFrameInfo {
    RunningFrameInfo {
        resource_id: frame.resource_id.clone(),
        job_id: frame.job_id.clone(),
        job_name: frame.job_name.clone(),
        frame_id: frame.frame_id.clone(),
        frame_name: frame.frame_name.clone(),
        layer_id: frame.layer_id.clone(),
        num_cores: frame.num_cores,
        num_gpus: frame.num_gpus,
        start_time: frame.start_time,
        attributes: frame.attributes.clone(),
        rss: FRAME_MEMORY_KIB,
        max_rss: FRAME_MEMORY_KIB,
        vsize: FRAME_MEMORY_KIB,
        max_vsize: FRAME_MEMORY_KIB,
        ..RunningFrameInfo::default()
    }
}

/// The Python agent has one code for everything it refuses.
fn refusal(agent: AgentKind, text: String, rust_code: Code) -> Status {
    match agent {
        AgentKind::Python => Status::unknown(text),
        AgentKind::Rust => Status::new(rust_code, text),
    }
}

fn wire(amount: i64) -> i32 {
    i32::try_from(amount).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_the_average_of_a_minute() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let idle = Load { hundredths: 0.0, at: began };
        let loads = [0, 5, 60, 300].map(|seconds| idle.after(800, at(seconds)).round());
        assert_eq!(loads.map(|load| format!("{load}")), ["0", "64", "506", "795"]);
        let ended = Load { hundredths: 800.0, at: began };
        let loads = [0, 60, 120, 300].map(|seconds| ended.after(0, at(seconds)).round());
        assert_eq!(loads.map(|load| format!("{load}")), ["800", "294", "108", "5"]);
    }
}
