//! Cuebot goes away under load, again and again, beside agents that report at random and tell the end of a
//! frame once.
//!
//! The short form asserts order and counts. The full form, by option, takes the times that a real farm has
//! and prints what they come to; see the README.

use std::time::{Duration, Instant};

use cue_scheduler::farm::cuebot::{CuebotOptions, Maintenance, NextFrames};
use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec};
use cue_scheduler::scheduler::Settings;
use cue_scheduler::units::Cores;

use crate::silence::{attentive, forgetful, is_silence_told};
use crate::support::farm::{Scheduler, farm, until};
use crate::support::{PATIENCE, TestDatabase, database};

const CORES_PER_HOST: i64 = 8;
/// Of each job, so that there is work before, during and after the outage.
const WAVES: i64 = 3;

/// How long Cuebot is away.
#[derive(Clone, Copy, Debug)]
enum Away {
    UntilSeen,
    UntilNothingRuns,
    For(Duration),
}

/// A farm with a job for each outage, and the scheduler on it.
struct Farm {
    sandbox: Sandbox,
    scheduler: Scheduler,
    frames_done: usize,
    _database: TestDatabase,
}

/// What one outage came to.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// From the end of the reports until it was seen.
    seen_after: Duration,
    /// From the return until all was done.
    done_after: Duration,
    /// Launches that arrived once all was in that had left before silence was seen.
    late_launches: usize,
    /// Centicores that no process has held for seconds, a minute and a half after the return.
    cores_held_by_nothing: i64,
}

impl Farm {
    async fn start(options: SandboxOptions, settings: Settings) -> Self {
        let database = database(options.generation).await;
        let sandbox = farm(database.connect_settings().await, options).await;
        let scheduler = Scheduler::start_calling(&sandbox, settings, sandbox.agent_settings()).await;
        Self { sandbox, scheduler, frames_done: 0, _database: database }
    }

    /// Lets the next job begin, and returns how many frames it has.
    async fn begin(&self, job: usize) -> usize {
        let job = &self.sandbox.seeded().jobs[job];
        let begun = "UPDATE job SET b_paused = false WHERE pk_job = $1";
        sqlx::query(begun).bind(job.id.as_str()).execute(self.sandbox.pool()).await.unwrap();
        self.sandbox.seeded().layers_of(&job.id).map(|layer| layer.frames as usize).sum()
    }

    /// Waits until a job is done, each of its frames with success and once, and nothing is held any more.
    async fn end(&mut self, frames: usize) {
        self.frames_done += frames;
        let done = self.frames_done as u64;
        until(&self.sandbox, |progress| progress.done == done && progress.running == 0).await;
        let began = Instant::now();
        let report = loop {
            let report = self.sandbox.audit().await.expect("the audit runs");
            if report.is_clean() && report.procs == 0 {
                break report;
            }
            assert!(began.elapsed() < PATIENCE, "{report:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!((report.double_launches, report.cap_breaches), (0, 0));
        let (cuebot, fleet) = (self.sandbox.cuebot().counts(), self.sandbox.fleet().unwrap().counts());
        assert_eq!((cuebot.frames_succeeded, cuebot.superseded, fleet.killed), (self.frames_done, 0, 0));
    }

    /// Cuebot goes away in the middle of a job.
    async fn outage(&mut self, job: usize, away: Away) -> Figures {
        let frames = self.begin(job).await;
        let (fleet, cuebot) = (self.sandbox.fleet().unwrap(), self.sandbox.cuebot());
        let before = self.frames_done as u64;
        until(&self.sandbox, |progress| progress.done > before && fleet.counts().running > 1).await;

        cuebot.fall_silent();
        let went = Instant::now();
        until(&self.sandbox, |_| is_silence_told(&self.scheduler)).await;
        let seen_after = went.elapsed();
        let in_flight = || self.scheduler.metric("scheduler_launches_in_flight", "");
        until(&self.sandbox, |_| in_flight() == 0).await;
        let launched = self.sandbox.launches().len();
        match away {
            Away::UntilSeen => {}
            Away::UntilNothingRuns => {
                until(&self.sandbox, |_| fleet.counts().running == 0).await;
            }
            Away::For(time) => tokio::time::sleep(time.saturating_sub(went.elapsed())).await,
        }
        let late_launches = self.sandbox.launches().len() - launched;
        cuebot.answer_again();

        let returned = Instant::now();
        let held =
            async { if let Away::For(_) = away { self.held_by_nothing(Duration::from_secs(90)).await } else { 0 } };
        let done = async {
            let done = before + frames as u64;
            until(&self.sandbox, |progress| progress.done == done && progress.running == 0).await;
            returned.elapsed()
        };
        let (cores_held_by_nothing, done_after) = tokio::join!(held, done);
        self.end(frames).await;
        Figures { seen_after, done_after, late_launches, cores_held_by_nothing }
    }

    /// Centicores of procs that no process runs for, then and a few seconds later.
    async fn held_by_nothing(&self, after: Duration) -> i64 {
        tokio::time::sleep(after).await;
        let idle = self.procs_without_process().await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let still = self.procs_without_process().await;
        still.into_iter().filter(|proc| idle.contains(proc)).map(|(_, cores)| cores).sum()
    }

    async fn procs_without_process(&self) -> Vec<(String, i64)> {
        let procs = "SELECT pk_proc, int_cores_reserved::int8 FROM proc";
        let procs: Vec<(String, i64)> = sqlx::query_as(procs).fetch_all(self.sandbox.pool()).await.unwrap();
        let launches = self.sandbox.launches();
        let runs =
            |proc: &str| launches.iter().any(|launch| launch.resource.as_str() == proc && launch.ended_at.is_none());
        procs.into_iter().filter(|(proc, _)| !runs(proc)).collect()
    }

    async fn stop(self) {
        let ended = self.scheduler.stop().await;
        assert_eq!((ended.unsettled, ended.unfinished), (0, vec![]));
        self.sandbox.stop().await;
    }
}

/// So many hosts, and a paused job for each outage and one more.
fn spec(hosts: usize, outages: usize, seed: u64) -> FarmSpec {
    let frames = u32::try_from(i64::try_from(hosts).unwrap() * CORES_PER_HOST * WAVES).unwrap();
    let job = |number: usize| JobSpec {
        is_paused: true,
        ..JobSpec::new(&format!("job{number}"))
            .cores_max(Cores::whole(10_000))
            .layer(LayerSpec::new("render").frames(frames))
    };
    let folder = (0..=outages).fold(FolderSpec::new("comp"), |folder, number| folder.job(job(number)));
    let show = ShowSpec::new("show").subscription("general", Cores::whole(10_000), Cores::whole(10_000));
    let class = HostClass::new("render", hosts).cores(Cores::whole(CORES_PER_HOST));
    let spec = FarmSpec::empty().alloc("general", "general").host_class(class).show(show.folder(folder));
    FarmSpec { seed, ..spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_done_once_and_no_core_is_lost_however_often_cuebot_goes_away() {
    let of = async |hosts: usize, generation: Generation, next_frames: NextFrames| {
        let run_time = RunTime::Between(Duration::from_millis(300), Duration::from_millis(900));
        let options = SandboxOptions { run_time, ..forgetful(generation, spec(hosts, 1, hosts as u64)) };
        let cuebot = CuebotOptions { next_frames, ..options.cuebot.clone() };
        let options = SandboxOptions { cuebot, ..options };
        let mut farm = Farm::start(options, attentive()).await;
        for (job, away) in [Away::UntilNothingRuns, Away::UntilSeen].into_iter().enumerate() {
            assert_eq!(farm.outage(job, away).await.late_launches, 0, "launched into a silence that was seen");
        }
        assert!(farm.sandbox.fleet().unwrap().counts().completions_lost > 0, "nothing was lost");
        farm.stop().await;
    };
    tokio::join!(
        of(1, Generation::G5, NextFrames::Never),
        of(2, Generation::G3, NextFrames::Never),
        of(5, Generation::G0, NextFrames::SameJob),
    );
}

/// As long as real agents and default settings take.
async fn real_outages(hosts: usize, outages: usize) {
    const AWAY: Duration = Duration::from_secs(60);
    let options = SandboxOptions {
        run_time: RunTime::Between(Duration::from_secs(5), Duration::from_secs(25)),
        report_interval: Duration::from_secs(30),
        report_interval_min: Some(Duration::from_secs(5)),
        cuebot: CuebotOptions { maintenance: Some(Maintenance::default()), ..CuebotOptions::default() },
        ..forgetful(Generation::G5, spec(hosts, outages, hosts as u64))
    };
    let mut farm = Farm::start(options, Settings::default()).await;
    let began = Instant::now();
    let frames = farm.begin(0).await;
    farm.end(frames).await;
    let undisturbed = began.elapsed();
    println!("{hosts} hosts: {frames} frames undisturbed in {:.0} s", undisturbed.as_secs_f64());
    for outage in 1..=outages {
        let figures = farm.outage(outage, Away::For(AWAY)).await;
        println!(
            "{hosts} hosts, outage {outage} of {:.0} s: seen after {:.0} s, launched after that {}, all done {:.0} s \
             after the return ({:.0} s undisturbed), cores held by nothing 90 s after the return: {}",
            AWAY.as_secs_f64(),
            figures.seen_after.as_secs_f64(),
            figures.late_launches,
            figures.done_after.as_secs_f64(),
            undisturbed.as_secs_f64(),
            Cores(figures.cores_held_by_nothing),
        );
        assert_eq!((figures.late_launches, figures.cores_held_by_nothing), (0, 0));
    }
    let pauses = usize::try_from(farm.scheduler.metric("scheduler_cuebot_silences_total", "")).unwrap();
    let doubles = farm.sandbox.audit().await.unwrap().double_launches;
    println!("{hosts} hosts: doubles {doubles}, pauses without an outage {}", pauses - outages);
    assert_eq!(pauses, outages);
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the full form of the outages: ten of a minute each, three quarters of an hour in all"]
async fn outages_of_a_minute_on_farms_of_several_sizes() {
    tokio::join!(real_outages(1, 10), real_outages(2, 10), real_outages(5, 10), real_outages(60, 10));
}
