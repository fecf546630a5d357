//! The service as a process among others: its log, its signals, its settings, and what they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec};
use cue_scheduler::units::Cores;
use nix::pty::openpty;
use nix::sys::signal::Signal::{SIGHUP, SIGTERM, SIGUSR1};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::farm::{assert_all_done, farm, quick_farm, until};
use crate::support::service::{Running, address_in, line_in, page, page_until, series, service};
use crate::support::{TestDatabase, database, execute, run_program, texts};

/// Two shows on an allocation each, with a job of four frames each that is paused.
async fn two_shows(database: &TestDatabase, generation: Generation) -> Sandbox {
    let show = |name: &str, alloc: &str| {
        let job =
            JobSpec { is_paused: true, ..JobSpec::new("job").layer(LayerSpec::new("render").frames(4).tags(alloc)) };
        let show = ShowSpec::new(name).subscription(alloc, Cores::whole(1_000), Cores::whole(1_000));
        show.folder(FolderSpec::new("comp").job(job))
    };
    let spec = FarmSpec::empty()
        .alloc("one", "one")
        .alloc("two", "two")
        .host_class(HostClass::new("one", 1).alloc("one"))
        .host_class(HostClass::new("two", 1).alloc("two"))
        .show(show("alpha", "one"))
        .show(show("beta", "two"));
    farm(database.connect_settings().await, SandboxOptions { generation, ..quick_farm(spec) }).await
}

async fn unpause(sandbox: &Sandbox, show: &str) {
    let jobs =
        format!("UPDATE job SET b_paused = false WHERE pk_show = (SELECT pk_show FROM show WHERE str_name = '{show}')");
    execute(sandbox.pool(), &jobs).await;
}

/// A settings file of a test, beside its log.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(settings: &str) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.write(settings);
        files
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("scheduler.yaml")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("scheduler.log")
    }

    fn write(&self, settings: &str) {
        let log = self.log();
        let logging = format!("logging: {{file_appender: true, path: {}}}\n", log.display());
        fs::write(self.settings(), logging + settings).unwrap();
    }

    /// The service with these settings.
    fn service(&self, sandbox: &Sandbox) -> Command {
        let mut command = service(sandbox);
        command.arg("--config").arg(self.settings());
        command
    }
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_neither_work_nor_a_stop() {
    let database = database(Generation::G5).await;
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(FarmSpec::simple(60).hosts(5)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let files = Files::new("");
    let mut command = files.service(&sandbox);
    command.arg("-vv");
    let mut running = Running::start_unread(command);
    let pages = address_in(&line_in(&files.log(), "metrics server listening").await);
    let dropped = |page: &str| series(page, "scheduler_log_lines_dropped_total{output=\"stderr\"}");
    page_until(pages, "/metrics", |page| dropped(page) > 0.0).await;
    assert_all_done(&sandbox).await;
    running.signal(SIGTERM);
    assert_eq!(running.ended().await, Some(0));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_ends_although_nobody_reads_why() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    let files = Files::new("scheduler: {alloc_tags: ['gone:one']}\n");
    let mut running = Running::start_unread(files.service(&sandbox));
    assert_eq!(running.ended().await, Some(1));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_a_hang_up_goes_on_in_a_new_log_file_and_reloads_the_settings() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    let files = Files::new("scheduler: {alloc_tags: ['alpha:one']}\n");
    let mut running = Running::start(files.service(&sandbox));
    running.says("Starting scheduler feed").await;
    unpause(&sandbox, "alpha").await;
    unpause(&sandbox, "beta").await;
    until(&sandbox, |progress| progress.done == 4).await;

    let rotated = files.folder.path().join("scheduler.log.1");
    fs::rename(files.log(), &rotated).unwrap();
    files.write("scheduler: {alloc_tags: ['alpha:one', 'beta:two']}\nqueue: {worker_threads: 3}\n");
    running.signal(SIGHUP);
    line_in(&files.log(), "reloaded the settings changed=\"scheduler.alloc_tags\"").await;
    let waiting = running.lines_with("takes effect at the next start only");
    assert_eq!(waiting.len(), 1, "{waiting:#?}");
    assert!(waiting[0].contains("queue.worker_threads"), "{waiting:#?}");
    let before = lines(&rotated);
    until(&sandbox, |progress| progress.done == 8).await;

    files.write("scheduler: {alloc_tags: ['alpha:one']}\nqueue: {monitor_interval: soon}\n");
    running.signal(SIGHUP);
    let refused = running.says("cannot reload the settings; keeping those there were").await;
    assert!(refused.contains("queue.monitor_interval"), "{refused}");
    running.signal(SIGTERM);
    assert_eq!(running.ended().await, Some(0));
    assert_eq!(lines(&rotated), before, "lines went on into the renamed file");
    assert_eq!(running.lines_with("rebuilt the clusters clusters=2").len(), 1, "{:#?}", running.log());
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_terminal_a_hang_up_stops_as_a_request_to_end_does() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    let terminal = openpty(None, None).unwrap();
    let mut command = service(&sandbox);
    command.stdin(Stdio::from(terminal.slave));
    let mut running = Running::start(command);
    running.says("Starting scheduler feed").await;
    running.signal(SIGHUP);
    assert_eq!(running.ended().await, Some(0));
    running.says("stopping: no new pass").await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_settings_name_is_served_without_what_is_gone_and_with_it_when_it_is_back() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    execute(sandbox.pool(), "UPDATE show SET str_name = 'away' WHERE str_name = 'beta'").await;
    let files =
        Files::new("scheduler: {alloc_tags: ['alpha:one', 'beta:two']}\nqueue: {cluster_reload_interval: 100ms}\n");
    let mut running = Running::start(files.service(&sandbox));
    let pages = running.pages().await;
    let told = running.says("no show is named \"beta\"").await;
    assert!(told.contains(" WARN scheduler: "), "{told}");
    let unready = page_until(pages, "/readyz", |page| page.contains("\r\n\r\nselection: ")).await;
    assert!(unready.starts_with("HTTP/1.1 503") && !unready.contains("beta"), "{unready}");
    assert!(series(&page(pages, "/metrics").await, "scheduler_selection_problems") > 0.0);
    unpause(&sandbox, "alpha").await;
    until(&sandbox, |progress| progress.done == 4).await;

    execute(sandbox.pool(), "UPDATE show SET str_name = 'beta' WHERE str_name = 'away'").await;
    page_until(pages, "/readyz", |page| page.starts_with("HTTP/1.1 200")).await;
    unpause(&sandbox, "beta").await;
    until(&sandbox, |progress| progress.done == 8).await;

    // It goes away again while the service runs.
    execute(sandbox.pool(), "UPDATE alloc SET str_tag = 'else' WHERE str_tag = 'two'").await;
    execute(sandbox.pool(), "DELETE FROM host_tag WHERE str_tag = 'two'").await;
    running.says("no allocation has the tag \"two\"").await;
    assert_eq!(running.lines_with("no show is named \"beta\"").len(), 2, "said once, and that it is back");
    running.signal(SIGTERM);
    assert_eq!(running.ended().await, Some(0));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_facility_with_the_same_tag_is_told_and_changes_nothing() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    let files = Files::new("scheduler: {alloc_tags: ['alpha:one']}\nqueue: {cluster_reload_interval: 100ms}\n");
    let running = Running::start(files.service(&sandbox));
    let pages = running.pages().await;
    running.says("built the clusters clusters=1").await;
    for statement in [
        "INSERT INTO facility (pk_facility, str_name) VALUES ('other', 'other')",
        "INSERT INTO alloc (pk_alloc, str_name, pk_facility, str_tag) VALUES ('other', 'other.one', 'other', 'one')",
        "INSERT INTO subscription (pk_subscription, pk_alloc, pk_show, int_size, int_burst) \
         SELECT 'other', 'other', pk_show, 100, 100 FROM show WHERE str_name = 'alpha'",
    ] {
        execute(sandbox.pool(), statement).await;
    }
    running.says("alpha:one is in the facilities local, other; serving what it was").await;
    page_until(pages, "/readyz", |page| page.contains("\r\n\r\nselection: ")).await;
    assert_eq!(running.lines_with("rebuilt the clusters"), [""; 0]);
    unpause(&sandbox, "alpha").await;
    until(&sandbox, |progress| progress.done == 4).await;
    drop(running);
    // A start cannot know which one is meant.
    let mut again = Running::start(files.service(&sandbox));
    assert_eq!(again.ended().await, Some(2));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_left_of_what_is_named_a_start_fails_so_that_it_is_tried_again() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    let files = Files::new("scheduler: {alloc_tags: ['gone:one']}\n");
    let mut running = Running::start(files.service(&sandbox));
    assert_eq!(running.ended().await, Some(1));
    running
        .says("error: Failed to load the clusters: nothing is there of what is to be served: no show is named")
        .await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flagged_work_that_nobody_books_is_told_and_counted() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    unpause(&sandbox, "beta").await;
    let files = Files::new("scheduler: {alloc_tags: ['alpha:one']}\nqueue: {cluster_reload_interval: 100ms}\n");
    let running = Running::start(files.service(&sandbox));
    let pages = running.pages().await;
    let told = running.says("a show is flagged for a scheduler and nobody books it").await;
    assert!(told.contains(" WARN ") && told.contains("show=\"beta\"") && told.contains("frames=4"), "{told}");
    let unready = page_until(pages, "/readyz", |page| page.contains("\r\n\r\nunserved shows: ")).await;
    assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
    assert!((series(&page(pages, "/metrics").await, "scheduler_unserved_frames") - 4.0).abs() < 0.1);

    execute(sandbox.pool(), "UPDATE show SET b_scheduler_managed = false WHERE str_name = 'beta'").await;
    page_until(pages, "/readyz", |page| page.starts_with("HTTP/1.1 200")).await;
    assert_eq!(running.lines_with("nobody books it").len(), 1, "{:#?}", running.log());
    drop(running);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_cluster_the_service_says_so() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    execute(sandbox.pool(), "UPDATE show SET b_scheduler_managed = false").await;
    let files = Files::new("queue: {cluster_reload_interval: 100ms}\n");
    let running = Running::start(files.service(&sandbox));
    let pages = running.pages().await;
    running.says(" WARN scheduler: no cluster: ").await;
    page_until(pages, "/readyz", |page| page.contains("\r\n\r\nno cluster: ")).await;
    execute(sandbox.pool(), "UPDATE show SET b_scheduler_managed = true").await;
    page_until(pages, "/readyz", |page| page.starts_with("HTTP/1.1 200")).await;
    drop(running);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_target_is_the_published_one_and_every_launch_and_give_back_has_its_debug_line() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    let mut command = service(&sandbox);
    command.env("OPENSCHEDULER_LOGGING__LEVEL", "warn,scheduler=info");
    let running = Running::start(command);
    running.says(" INFO scheduler: Starting scheduler feed").await;
    assert_eq!(running.lines_with(" DEBUG "), [""; 0]);
    running.signal(SIGUSR1);
    running.says("changed the log level level=debug").await;
    unpause(&sandbox, "alpha").await;
    unpause(&sandbox, "beta").await;
    until(&sandbox, |progress| progress.done == 8).await;
    running.says_times(" DEBUG scheduler: launched a frame", 8).await;
    drop(running);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_outside_the_range_of_their_layer_have_a_reason_of_their_own_and_are_told_once() {
    let database = database(Generation::G5).await;
    let sandbox = two_shows(&database, Generation::G5).await;
    let of_alpha = "pk_job IN (SELECT pk_job FROM job JOIN show USING (pk_show) WHERE show.str_name = 'alpha')";
    execute(sandbox.pool(), &format!("UPDATE layer SET str_range = '500-600' WHERE {of_alpha}")).await;
    unpause(&sandbox, "alpha").await;
    let job = texts(sandbox.pool(), &format!("SELECT str_name FROM job WHERE {of_alpha}")).await.remove(0);
    let explained = run_program(sandbox.database(), &["explain", "job", &job]);
    let told = explained.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("why no agent can be told to run its frames as the rows are"), "{explained:?}");
    assert!(told.contains("correct layer.str_range"), "{explained:?}");
    let planned = run_program(sandbox.database(), &["plan", "-o", "json"]);
    let planned: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    assert!(planned.to_string().contains("\"unlaunchable\""), "{planned}");

    let files = Files::new("queue: {job_back_off_duration: 1s, monitor_interval: 200ms}\n");
    let running = Running::start(files.service(&sandbox));
    let pages = running.pages().await;
    let waits = |page: &str| series(page, "scheduler_waiting_frames{reason=\"unlaunchable\",show_name=\"alpha\"}");
    page_until(pages, "/metrics", |page| waits(page) > 3.0).await;
    let held = format!("scheduler_held_back{{kind=\"layer\",name=\"{job}/render\"}}");
    page_until(pages, "/metrics", |page| series(page, &held) > 0.0).await;
    // It is tried again and again.
    page_until(pages, "/metrics", |page| series(page, "scheduler_passes_total") > 30.0).await;
    let told = running.lines_with("left a row out");
    assert_eq!(told.len(), 1, "{:#?}", running.log());
    assert!(told[0].contains("table=layer") && told[0].contains("correct layer.str_range"), "{told:#?}");

    execute(sandbox.pool(), &format!("UPDATE layer SET str_range = '1-100' WHERE {of_alpha}")).await;
    until(&sandbox, |progress| progress.done == 4).await;
    page_until(pages, "/metrics", |page| series(page, &held) < 1.0).await;
    drop(running);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_pages_hold_up_neither_work_nor_a_scrape() {
    let database = database(Generation::G5).await;
    let options = SandboxOptions { generation: Generation::G5, ..quick_farm(FarmSpec::simple(200).hosts(5)) };
    let sandbox = farm(database.connect_settings().await, options).await;
    let mut running = Running::start(service(&sandbox));
    let pages = running.pages().await;
    let mut idle = Vec::new();
    let mut asked = 0;
    while !sandbox.progress().await.unwrap().is_finished() || idle.len() < 200 {
        for _ in 0..50 {
            let mut connection = TcpStream::connect(pages).await.unwrap();
            // It may be closed already, for those that came after it.
            let _ = connection.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await;
            idle.push(connection);
        }
        idle.drain(..idle.len().saturating_sub(200));
        asked += 1;
        assert!(page(pages, "/metrics").await.contains("scheduler_passes_total"), "asked {asked} times");
    }
    let report = assert_all_done(&sandbox).await;
    assert_eq!(report.cap_breaches, 0);
    running.signal(SIGTERM);
    assert_eq!(running.ended().await, Some(0));
    sandbox.stop().await;
}
