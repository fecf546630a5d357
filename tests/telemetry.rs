//! Metrics and health pages over real HTTP, and the log with its real subscriber.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cue_scheduler::clusters;
use cue_scheduler::config::Config;
use cue_scheduler::db::SnapshotOptions;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec, seed};
use cue_scheduler::model::{CandidateIx, CounterTable, Plan, Selection, TagChunkSizes, WaitReason, Waiting};
use cue_scheduler::telemetry::http::PageLimits;
use cue_scheduler::telemetry::labels::{CapTable, LaunchResult, PassEnd};
use cue_scheduler::telemetry::logs::{self, LogSettings, LogsError};
use cue_scheduler::telemetry::{Condition, Health, Metrics, PassFigures, error_chain, http};
use cue_scheduler::units::Cores;
use strum::IntoEnumIterator as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::support::database;

/// A server on a free port with everything behind it.
struct Pages {
    address: SocketAddr,
    registry: prometheus::Registry,
    metrics: Metrics,
    health: Health,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl Pages {
    async fn start() -> Self {
        Self::start_with(PageLimits::default()).await
    }

    async fn start_with(limits: PageLimits) -> Self {
        let registry = prometheus::Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let health = Health::new();
        let stop = CancellationToken::new();
        let listener = http::bind(Ipv4Addr::LOCALHOST.into(), 0).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(http::serve(listener, registry.clone(), health.clone(), limits, stop.clone()));
        Self { address, registry, metrics, health, stop, served }
    }

    async fn get(&self, path: &str) -> Answer {
        request(self.address, "GET", path).await
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn request(address: SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// `name type` of every metric on a page, in the page's order.
fn types(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect()
}

/// The value of one series, written as on the page.
fn value<'a>(page: &'a str, series: &str) -> &'a str {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no series {series} in\n{page}"))
}

/// Upper bounds of a histogram, the first series of it.
fn buckets(page: &str, name: &str) -> Vec<String> {
    let mut bounds = Vec::new();
    for line in page.lines().filter(|line| line.starts_with(&format!("{name}_bucket{{"))) {
        let bound = line.split_once("le=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
        let is_last = bound == "+Inf";
        bounds.push(bound);
        if is_last {
            break;
        }
    }
    bounds
}

#[tokio::test]
async fn every_table_that_is_repaired_has_its_series_from_the_start() {
    let pages = Pages::start().await;
    let page = pages.get("/metrics").await.body;
    for metric in ["scheduler_drift_repaired_rows_total", "scheduler_releases_accounted_rows_total"] {
        for table in CounterTable::ALL {
            assert_eq!(value(&page, &format!("{metric}{{table=\"{}\"}}", table.as_str())), "0");
        }
    }
}

#[tokio::test]
async fn a_scrape_has_the_published_names_types_and_buckets() {
    let pages = Pages::start().await;
    pages.metrics.jobs_processed("show", 1);
    pages.metrics.frames_dispatched("show", 3);
    pages.metrics.frame_booked("show", Duration::from_secs(2));
    let answer = pages.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", answer.head);
    let page = &answer.body;

    let published = [
        "scheduler_accounting_limit_exceeded_total counter",
        "scheduler_active_scan_duration_seconds histogram",
        "scheduler_active_tags gauge",
        "scheduler_candidates_per_layer histogram",
        "scheduler_checkout_outcome_total counter",
        "scheduler_cluster_round_trip_seconds histogram",
        "scheduler_clusters_active gauge",
        "scheduler_clusters_sleeping gauge",
        "scheduler_clusters_total gauge",
        "scheduler_frames_dispatched_per_pass histogram",
        "scheduler_frames_dispatched_total counter",
        "scheduler_job_cap_precheck_skip_total counter",
        "scheduler_job_query_duration_seconds histogram",
        "scheduler_jobs_processed_total counter",
        "scheduler_jobs_queried_total counter",
        "scheduler_no_candidate_iterations_total counter",
        "scheduler_pass_terminated_reason_total counter",
        "scheduler_placement_inner_retries_exhausted_total counter",
        "scheduler_placement_score_chosen histogram",
        "scheduler_recompute_cycle_duration_seconds histogram",
        "scheduler_time_to_book_seconds histogram",
    ];
    let types = types(page);
    for name in published {
        assert!(types.contains(&name), "{name} is missing");
    }

    let query = "0.001 0.005 0.01 0.05 0.1 0.5 1 5 10 +Inf";
    let expected = BTreeMap::from([
        ("scheduler_candidates_per_layer", "1 5 10 20 50 100 +Inf"),
        ("scheduler_time_to_book_seconds", "0.1 0.5 1 5 10 30 60 120 300 +Inf"),
        ("scheduler_job_query_duration_seconds", query),
        ("scheduler_active_scan_duration_seconds", query),
        ("scheduler_recompute_cycle_duration_seconds", "0.01 0.05 0.1 0.25 0.5 1 2.5 5 10 15 30 60 +Inf"),
        ("scheduler_cluster_round_trip_seconds", "0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 120 +Inf"),
        ("scheduler_frames_dispatched_per_pass", "0 1 5 10 20 50 100 250 500 +Inf"),
        ("scheduler_placement_score_chosen", "0 0.5 1 2 5 10 25 50 100 250 1000 +Inf"),
    ]);
    for (name, bounds) in expected {
        assert_eq!(buckets(page, name).join(" "), bounds, "{name}");
    }

    let labelled = [
        "scheduler_jobs_processed_total{show_name=\"show\"} 1",
        "scheduler_frames_dispatched_total{show_name=\"show\"} 3",
        "scheduler_time_to_book_seconds_bucket{show_name=\"show\",le=\"5\"} 1",
        "scheduler_pass_terminated_reason_total{reason=\"saturated\"} 0",
        "scheduler_checkout_outcome_total{outcome=\"no_match\"} 0",
        "scheduler_accounting_limit_exceeded_total{table=\"subscription\"} 0",
        "scheduler_clusters_total{cluster_type=\"hostname\"} 0",
        "scheduler_cluster_round_trip_seconds_count{cluster_type=\"hardware\"} 0",
        "scheduler_frames_dispatched_per_pass_count{cluster_type=\"alloc\"} 0",
    ];
    for line in labelled {
        assert!(page.lines().any(|found| found == line), "{line} is missing");
    }
}

#[tokio::test]
async fn waiting_frames_are_there_by_show_and_reason_and_follow_the_plan() {
    let pages = Pages::start().await;
    let database = database(Generation::G5).await;
    let show = |name: &str, layers: &[&str]| {
        let job = layers.iter().fold(JobSpec::new("job"), |job, layer| job.layer(LayerSpec::new(layer)));
        let show = ShowSpec::new(name).subscription("general", Cores::whole(10), Cores::whole(10));
        show.folder(FolderSpec::new("comp").job(job))
    };
    let spec = FarmSpec::empty().alloc("general", "general").host_class(HostClass::new("render", 1));
    seed(&database.pool(), &spec.show(show("one", &["a", "b"])).show(show("two", &["c"]))).await.unwrap();
    let store = database.store().await;
    let clusters = clusters::load(&store, &Selection::default(), TagChunkSizes::default()).await.unwrap().clusters;
    let snapshot = store.load_snapshot(&clusters, &SnapshotOptions::default()).await.unwrap();
    assert_eq!(snapshot.candidates.len(), 3);
    let waiting = |at, frames, reason| Waiting { candidate: CandidateIx(at), frames, reason };
    let plan = Plan {
        placements: Vec::new(),
        waiting: vec![
            waiting(0, 5, WaitReason::Capacity),
            waiting(1, 7, WaitReason::Capacity),
            waiting(2, 2, WaitReason::LimitReached),
        ],
    };
    pages.metrics.set_waiting(&snapshot, &plan);
    let page = pages.get("/metrics").await.body;
    assert_eq!(value(&page, "scheduler_waiting_frames{reason=\"capacity\",show_name=\"one\"}"), "12");
    assert_eq!(value(&page, "scheduler_waiting_layers{reason=\"capacity\"}"), "2");
    assert_eq!(value(&page, "scheduler_waiting_frames{reason=\"limit_reached\",show_name=\"two\"}"), "2");

    pages.metrics.set_waiting(&snapshot, &Plan::default());
    let page = pages.get("/metrics").await.body;
    let series: Vec<&str> = page.lines().filter(|line| line.starts_with("scheduler_waiting_frames{")).collect();
    assert_eq!(series.len(), 2, "{series:?}");
    assert!(series.iter().all(|series| series.ends_with(" 0")), "{series:?}");
    for reason in WaitReason::iter() {
        assert_eq!(value(&page, &format!("scheduler_waiting_layers{{reason=\"{}\"}}", reason.into_str())), "0");
    }
}

#[tokio::test]
async fn what_a_pass_did_is_counted() {
    let pages = Pages::start().await;
    let metrics = &pages.metrics;
    metrics.pass_ended(&PassFigures {
        end: PassEnd::Booked,
        duration: Duration::from_millis(40),
        statements: 30,
        rows_read: 400,
        rows_written: 200,
    });
    metrics.database_used(31, 401, 200);
    metrics.launch_ended(LaunchResult::ConfirmedNotRunning);
    metrics.booking_lost("frame_taken");
    metrics.cap_reached(CapTable::LimitRecord);
    metrics.unbooked("launch_refused", 4);
    metrics.set_database_up(true);
    let in_flight = metrics.launch_sent();
    let page = pages.get("/metrics").await.body;
    let expected = [
        ("scheduler_passes_total", "1"),
        ("scheduler_pass_terminated_reason_total{reason=\"booked\"}", "1"),
        ("scheduler_pass_duration_seconds_bucket{le=\"0.05\"}", "1"),
        ("scheduler_statements_per_pass_sum", "30"),
        ("scheduler_rows_per_pass_sum", "600"),
        ("scheduler_statements_total", "31"),
        ("scheduler_rows_read_total", "401"),
        ("scheduler_rows_written_total", "200"),
        ("scheduler_launches_total{outcome=\"confirmed_not_running\"}", "1"),
        ("scheduler_launches_total{outcome=\"too_late\"}", "0"),
        ("scheduler_launches_in_flight", "1"),
        ("scheduler_bookings_lost_total{reason=\"frame_taken\"}", "1"),
        ("scheduler_accounting_limit_exceeded_total{table=\"limit_record\"}", "1"),
        ("scheduler_unbooked_total{cause=\"launch_refused\"}", "4"),
        ("scheduler_database_up", "1"),
        (concat!("scheduler_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), "1"),
    ];
    for (series, expected) in expected {
        assert_eq!(value(&page, series), expected, "{series}");
    }
    drop(in_flight);
    assert_eq!(value(&pages.get("/metrics").await.body, "scheduler_launches_in_flight"), "0");
}

#[tokio::test]
async fn readiness_follows_the_conditions_and_liveness_does_not() {
    let pages = Pages::start().await;
    let ready = pages.get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "service: starting\n"));
    assert_eq!(pages.get("/livez").await.status, 200);

    pages.health.set_ready();
    let ready = pages.get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ok\n"));

    pages.health.raise(Condition::ForeignPlanner, "Cuebot's planner is active");
    pages.health.raise(Condition::Database, "connection refused");
    let ready = pages.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, "database: connection refused\nforeign planner: Cuebot's planner is active\n");
    assert_eq!(pages.get("/livez").await.status, 200);

    pages.health.clear(Condition::Database);
    pages.health.clear(Condition::ForeignPlanner);
    assert_eq!(pages.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn other_pages_and_methods_are_answered_in_kind() {
    let pages = Pages::start().await;
    let index = pages.get("/").await;
    assert_eq!(index.status, 200);
    assert!(index.body.contains("/metrics") && index.body.contains("/readyz"), "{}", index.body);
    assert_eq!(pages.get("/nothing").await.status, 404);
    assert_eq!(request(pages.address, "POST", "/metrics").await.status, 405);
    let head = request(pages.address, "HEAD", "/livez").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn the_pages_end_with_the_stop_signal() {
    let pages = Pages::start().await;
    let mut idle = TcpStream::connect(pages.address).await.unwrap();
    pages.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), pages.served).await.expect("it ends").unwrap();
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(pages.address).await.is_err());
}

/// Connections that nobody has sent a whole request on.
async fn hang_on(pages: &Pages, number: usize) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for sent in ["", "GET /livez HTT", "GET /livez HTTP/1.1\r\nHost: local"].into_iter().cycle().take(number) {
        let mut connection = TcpStream::connect(pages.address).await.unwrap();
        // It may be closed already.
        let _ = connection.write_all(sent.as_bytes()).await;
        connections.push(connection);
    }
    connections
}

async fn is_closed(connection: &mut TcpStream) {
    while matches!(connection.read(&mut [0; 256]).await, Ok(length) if length > 0) {}
}

/// Patient: what closes a connection is not its time.
fn patient() -> PageLimits {
    let long = Duration::from_hours(1);
    PageLimits { request_timeout: long, connection_timeout: long, ..PageLimits::default() }
}

#[tokio::test]
async fn however_many_hang_on_others_are_answered_and_few_are_held() {
    let pages = Pages::start_with(patient()).await;
    let mut hanging = hang_on(&pages, 250).await;
    assert_eq!(pages.get("/livez").await.status, 200);
    // Those that came last are held, one made room for the answer.
    let held = hanging.split_off(250 - 63);
    for connection in &mut hanging {
        is_closed(connection).await;
    }
    let mut more = hang_on(&pages, 100).await;
    assert_eq!(pages.get("/metrics").await.status, 200);
    for mut connection in held.into_iter().chain(more.drain(..37)) {
        is_closed(&mut connection).await;
    }
}

#[tokio::test]
async fn who_hangs_on_is_closed_in_a_while() {
    let pages = Pages::start_with(PageLimits { request_timeout: Duration::from_millis(50), ..patient() }).await;
    for connection in &mut hang_on(&pages, 60).await {
        is_closed(connection).await;
    }
    let pages = Pages::start_with(PageLimits { connection_timeout: Duration::from_millis(50), ..patient() }).await;
    for connection in &mut hang_on(&pages, 60).await {
        is_closed(connection).await;
    }
}

/// A page that no socket's buffer takes whole.
fn large_page(registry: &prometheus::Registry) {
    let options = prometheus::Opts::new("large", "Many series.");
    let series = prometheus::IntCounterVec::new(options, &["label"]).unwrap();
    for number in 0..20_000 {
        series.with_label_values(&[&format!("{number:01000}")]);
    }
    registry.register(Box::new(series)).unwrap();
}

#[tokio::test]
async fn who_reads_slowly_does_not_hold_a_connection_for_ever() {
    let limits = PageLimits { connection_timeout: Duration::from_secs(1), ..patient() };
    let pages = Pages::start_with(limits).await;
    large_page(&pages.registry);
    // Its answer has begun, and nobody reads on.
    let _slow = loop {
        let mut slow = TcpStream::connect(pages.address).await.unwrap();
        slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        if matches!(slow.read(&mut [0; 1]).await, Ok(1)) {
            break slow;
        }
    };
    // Answers under way are waited for, so that this ends only when the slow one is given up.
    pages.stop.cancel();
    tokio::time::timeout(Duration::from_secs(60), pages.served).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_connection_is_for_one_request() {
    let pages = Pages::start_with(patient()).await;
    let mut connection = TcpStream::connect(pages.address).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection.write_all(request.repeat(2).as_bytes()).await.unwrap();
    let mut text = String::new();
    // The end may come as a reset, since the second request is not read.
    let _ = connection.read_to_string(&mut text).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
    assert!(text.contains("connection: close"), "{text}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_others_are_answered() {
    let pages = Pages::start_with(patient()).await;
    let head = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
    let abuse: [(&str, Vec<u8>); 6] = [
        ("noise", (0..=255_u8).cycle().take(4_096).collect()),
        ("nothing but line ends", b"\r\n".repeat(100_000)),
        ("a head without end", [head.as_bytes(), b"X: ", &vec![b'x'; 1 << 20]].concat()),
        ("thousands of fields", [head.as_bytes(), &b"X: x\r\n".repeat(10_000), b"\r\n"].concat()),
        ("a long path", [b"GET /".as_slice(), &vec![b'x'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat()),
        ("another protocol", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    ];
    for (what, sent) in abuse {
        let mut connection = TcpStream::connect(pages.address).await.unwrap();
        // It may be closed while it is being sent.
        let _ = connection.write_all(&sent).await;
        let _ = connection.shutdown().await;
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{what}: {}", String::from_utf8_lossy(&answer));
        assert_eq!(pages.get("/livez").await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_says_what_to_change() {
    let taken = http::bind(Ipv4Addr::LOCALHOST.into(), 0).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = http::bind(Ipv4Addr::LOCALHOST.into(), port).await.expect_err("it is taken");
    let message = error_chain(&error);
    assert!(message.contains(&format!("port {port}")) && message.contains("queue.metrics_port"), "{message}");
}

#[tokio::test]
async fn the_pages_listen_where_they_are_told() {
    let address = Config::default().queue.metrics_address;
    assert!(address.is_loopback(), "nothing says otherwise, and {address} is for others too");
    let here = http::bind(address, 0).await.unwrap();
    assert_eq!(here.local_addr().unwrap().ip(), address);
    // Reserved for documentation: no machine has it.
    let error = http::bind(Ipv4Addr::new(192, 0, 2, 1).into(), 0).await.expect_err("not ours");
    assert!(error_chain(&error).contains("queue.metrics_address"), "{error}");
}

#[test]
fn a_registry_takes_one_scheduler() {
    let registry = prometheus::Registry::new();
    Metrics::new(&registry).unwrap();
    let error = Metrics::new(&registry).expect_err("names are taken");
    assert!(error_chain(&error).starts_with("cannot declare the metric scheduler_"), "{error}");
    Metrics::new(&prometheus::Registry::new()).expect("another registry has room");
}

/// Collects what the log writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn writer(&self) -> BoxMakeWriter {
        let lines = self.clone();
        BoxMakeWriter::new(move || lines.clone())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn with_time_removed(line: &str) -> &str {
    let (time, rest) = line.split_once(' ').unwrap();
    let shape: String = time.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
    rest
}

#[test]
fn log_lines_have_the_published_form() {
    let lines = Lines::default();
    let settings = LogSettings { level: "debug,sqlx=warn".to_owned(), ..LogSettings::default() };
    let (subscriber, _logs) = logs::build(&settings, lines.writer()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "cue_scheduler::scheduler", "Starting scheduler feed");
        tracing::debug!(target: "cue_scheduler::scheduler", frames = 120, show = "s", "Processed 5 layers");
        tracing::trace!(target: "cue_scheduler::scheduler", "hidden");
        tracing::info!(target: "scheduler", "built the clusters");
        tracing::info!(target: "sqlx::query", "hidden");
        tracing::warn!(target: "sqlx::query", "slow");
    });
    let text = lines.text();
    let lines: Vec<&str> = text.lines().map(with_time_removed).collect();
    assert_eq!(
        lines,
        [
            "INFO scheduler: Starting scheduler feed",
            "DEBUG scheduler: Processed 5 layers frames=120 show=\"s\"",
            "INFO scheduler: built the clusters",
            "WARN sqlx::query: slow",
        ]
    );
}

#[test]
fn a_log_of_json_has_one_object_a_line() {
    let lines = Lines::default();
    let settings = LogSettings { json: true, ..LogSettings::default() };
    let (subscriber, _logs) = logs::build(&settings, lines.writer()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "cue_scheduler::scheduler", frames = 3, "booked");
    });
    let line: serde_json::Value = serde_json::from_str(lines.text().trim()).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "booked");
    assert_eq!(line["frames"], 3);
    with_time_removed(&format!("{} ", line["timestamp"].as_str().unwrap()));
}

#[test]
fn a_log_of_json_cuts_what_is_longer_than_a_line() {
    let lines = Lines::default();
    let settings = LogSettings { json: true, ..LogSettings::default() };
    let (subscriber, _logs) = logs::build(&settings, lines.writer()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "cue_scheduler::scheduler", host = "\u{1b}é".repeat(5_000), "booked");
        tracing::info!(target: "cue_scheduler::scheduler", "next");
    });
    let lines = lines.text();
    let [long, next] = lines.lines().collect::<Vec<_>>()[..] else { panic!("{lines}") };
    let long: serde_json::Value = serde_json::from_str(long).unwrap();
    assert_eq!(long["host"], "\u{1b}é".repeat(2_000) + "... (10000 letters)");
    assert_eq!(long["message"], "booked");
    assert_eq!(serde_json::from_str::<serde_json::Value>(next).unwrap()["message"], "next");
}

#[test]
fn the_file_really_has_the_lines_once_the_log_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs").join("scheduler.log");
    for _run in 0..2 {
        let lines = Lines::default();
        let settings = LogSettings { file: Some(path.clone()), ..LogSettings::default() };
        let (subscriber, logs) = logs::build(&settings, lines.writer()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..500 {
                tracing::info!(target: "cue_scheduler", number, "line");
            }
        });
        drop(logs);
        assert_eq!(lines.text().lines().count(), 500);
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1000, "appended, and nothing lost");
    assert_eq!(with_time_removed(text.lines().last().unwrap()), "INFO scheduler: line number=499");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LogSettings { file: Some(folder.path().to_owned()), ..LogSettings::default() };
    let error = logs::build(&settings, Lines::default().writer()).err().expect("it is a folder");
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
}

#[test]
fn a_bad_level_is_an_error_that_names_it() {
    let settings = LogSettings { level: "info,sqlx=loud".to_owned(), ..LogSettings::default() };
    let error = logs::build(&settings, Lines::default().writer()).err().expect("no such level");
    assert!(matches!(&error, LogsError::LevelUnknown { part } if part == "sqlx=loud"), "{error}");
}

#[test]
fn the_toggle_goes_between_info_and_debug_and_leaves_other_targets() {
    let lines = Lines::default();
    let settings = LogSettings { level: "info,sqlx=debug".to_owned(), ..LogSettings::default() };
    let (subscriber, logs) = logs::build(&settings, lines.writer()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let say = |text: &str| {
            tracing::debug!(target: "cue_scheduler::scheduler", "own {text}");
            tracing::debug!(target: "scheduler", "published {text}");
            tracing::debug!(target: "sqlx", "other {text}");
        };
        say("before");
        assert_eq!(logs.control().toggle(), LevelFilter::DEBUG);
        say("debug");
        assert_eq!(logs.control().toggle(), LevelFilter::INFO);
        say("after");
    });
    let text = lines.text();
    let said: Vec<&str> = text.lines().filter_map(|line| line.split_once(": ")).map(|(_, message)| message).collect();
    assert_eq!(said, ["other before", "own debug", "published debug", "other debug", "other after"]);
}

#[test]
fn a_directive_for_the_published_target_holds_for_all_that_this_program_says() {
    for level in ["warn,scheduler=info", "warn,cue_scheduler=info"] {
        let lines = Lines::default();
        let settings = LogSettings { level: level.to_owned(), ..LogSettings::default() };
        let (subscriber, _logs) = logs::build(&settings, lines.writer()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "scheduler", "published");
            tracing::info!(target: "cue_scheduler::booking", "own");
            tracing::info!(target: "sqlx", "other");
            tracing::debug!(target: "scheduler", "hidden");
        });
        let text = lines.text();
        let said: Vec<&str> = text.lines().map(with_time_removed).collect();
        assert_eq!(said, ["INFO scheduler: published", "INFO scheduler: own"], "{level}");
    }
}

#[test]
fn the_file_of_the_log_is_not_for_everybody_and_makes_room_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scheduler.log");
    let settings = LogSettings { file: Some(path.clone()), ..LogSettings::default() };
    let (subscriber, logs) = logs::build(&settings, Lines::default().writer()).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path) & !0o640, 0, "{:o}", mode(&path));
    let renamed = folder.path().join("scheduler.log.1");
    std::fs::rename(&path, &renamed).unwrap();
    assert!(logs.control().reopen().unwrap());
    tracing::subscriber::with_default(subscriber, || tracing::info!(target: "scheduler", "after"));
    drop(logs);
    assert_eq!(std::fs::read_to_string(&renamed).unwrap(), "");
    assert!(std::fs::read_to_string(&path).unwrap().contains("after"));
    assert_eq!(mode(&path) & !0o640, 0, "{:o}", mode(&path));
}

#[test]
fn verbose_and_quiet_win_over_the_configured_level() {
    let count = |verbosity| {
        let lines = Lines::default();
        let settings = LogSettings { verbosity, ..LogSettings::default() };
        let (subscriber, _logs) = logs::build(&settings, lines.writer()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "cue_scheduler", "error");
            tracing::warn!(target: "cue_scheduler", "warn");
            tracing::info!(target: "cue_scheduler", "info");
            tracing::debug!(target: "cue_scheduler", "debug");
            tracing::trace!(target: "cue_scheduler", "trace");
        });
        lines.text().lines().count()
    };
    assert_eq!([-2, -1, 0, 1, 2].map(count), [1, 2, 3, 4, 5]);
}
