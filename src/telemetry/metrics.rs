//! Every metric: its name, its type, its labels and its buckets, in one place.
//!
//! Names that dashboards of the earlier Rust scheduler know are kept, with their buckets. Values of
//! closed lists are there from the start with zero, so that a rate over a new series is right.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use strum::VariantNames as _;

use super::declare::{Label, MetricsError, declare};
use super::labels::{CapTable, CheckoutOutcome, LaunchResult, PassEnd, RedirectEnd};
use super::observe::{as_f64, as_i64};
use super::shows::ShowSeries;
use crate::model::{Cluster, CounterTable, HostOddity, HostState, WaitReason};

/// The log counts them before there is a registry.
pub(super) const LOG_LINES_DROPPED: &str = "scheduler_log_lines_dropped_total";

const CANDIDATE_BUCKETS: &[f64] = &[1.0, 5.0, 10.0, 20.0, 50.0, 100.0];
const TIME_TO_BOOK_BUCKETS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const QUERY_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
const RECOMPUTE_BUCKETS: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];
const ROUND_TRIP_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
const FRAMES_PER_PASS_BUCKETS: &[f64] = &[0.0, 1.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 500.0];
const SCORE_BUCKETS: &[f64] = &[0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0];
const PASS_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const STATEMENT_BUCKETS: &[f64] = &[1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const ROW_BUCKETS: &[f64] = &[0.0, 10.0, 100.0, 1000.0, 5000.0, 10_000.0, 50_000.0, 100_000.0];

/// One row a metric: the handle, its type with labels and buckets, the name, what it counts, and how one call
/// sets it. Those that are set together with others have their calls in `observe`.
macro_rules! metrics {
    ($($handle:ident: $kind:ident$(($($form:expr),+))? = $name:literal, $help:literal
        $(, $call:ident($($arg:ident: $type:ty),*) { $($set:tt)+ })?;)+) => {
        /// Handles to all metrics of one scheduler. Cloning shares them. Two schedulers in one process
        /// have a registry each.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            $(pub(super) $handle: $kind,)+
            pub(super) shows: ShowSeries,
        }

        impl Metrics {
            fn declare(registry: &Registry) -> Result<Self, MetricsError> {
                let shows = ShowSeries::default();
                Ok(Self { $($handle: declare(registry, $name, $help, ($($($form),+)?))?,)+ shows })
            }

            $($(
                #[doc = $help]
                pub fn $call(&self, $($arg: $type),*) {
                    self.$handle.$($set)+;
                }
            )?)+
        }
    };
}

metrics! {
    jobs_queried: IntCounter = "scheduler_jobs_queried_total",
        "Jobs with waiting work read from the database.";
    jobs_processed: IntCounterVec(any("show_name")) = "scheduler_jobs_processed_total",
        "Jobs of which a pass booked at least one frame.",
        jobs_processed(show_name: &str, jobs: u64) { with_label_values(&[show_name]).inc_by(jobs) };
    frames_dispatched: IntCounterVec(any("show_name")) = "scheduler_frames_dispatched_total",
        "Frames booked and launched on a host.",
        frames_dispatched(show_name: &str, frames: u64) { with_label_values(&[show_name]).inc_by(frames) };
    no_candidate_iterations: IntCounter = "scheduler_no_candidate_iterations_total",
        "Times that a layer with waiting frames was given no host in a pass.";
    candidates_per_layer: Histogram(CANDIDATE_BUCKETS) = "scheduler_candidates_per_layer",
        "Hosts that a layer was given in a pass.";
    time_to_book: HistogramVec(any("show_name"), TIME_TO_BOOK_BUCKETS) = "scheduler_time_to_book_seconds",
        "Seconds from a frame's becoming ready to its booking.";
    job_query_duration: Histogram(QUERY_BUCKETS) = "scheduler_job_query_duration_seconds",
        "Seconds that reading hosts, waiting layers and caps took.";
    limit_exceeded: IntCounterVec(one_of("table", CapTable::VARIANTS)) = "scheduler_accounting_limit_exceeded_total",
        "Bookings that a cap stopped when they were written, by the cap's table.",
        cap_reached(table: CapTable) { with_label_values(&[table.into_str()]).inc() };
    job_cap_skips: IntCounter = "scheduler_job_cap_precheck_skip_total",
        "Layers that a pass left waiting because their job is at its cap.";
    recompute_duration: Histogram(RECOMPUTE_BUCKETS) = "scheduler_recompute_cycle_duration_seconds",
        "Seconds that comparing counters with procs took, repairs included.",
        repair_ended(duration: Duration) { observe(duration.as_secs_f64()) };
    cluster_round_trip: HistogramVec(cluster_kinds(), ROUND_TRIP_BUCKETS) = "scheduler_cluster_round_trip_seconds",
        "Seconds between two looks at a cluster.",
        cluster_visited(cluster: &Cluster, since_last: Duration) {
            with_label_values(&[cluster.kind_name()]).observe(since_last.as_secs_f64())
        };
    clusters: IntGaugeVec(cluster_kinds()) = "scheduler_clusters_total",
        "Clusters of this scheduler.";
    clusters_active: IntGauge = "scheduler_clusters_active",
        "Clusters with waiting work.";
    clusters_sleeping: IntGauge = "scheduler_clusters_sleeping",
        "Clusters without waiting work.";
    active_tags: IntGauge = "scheduler_active_tags",
        "Different tags of clusters with waiting work.";
    active_scan_duration: Histogram(QUERY_BUCKETS) = "scheduler_active_scan_duration_seconds",
        "Seconds that asking whether anything changed took.",
        change_probed(duration: Duration) { observe(duration.as_secs_f64()) };
    frames_per_pass: HistogramVec(cluster_kinds(), FRAMES_PER_PASS_BUCKETS) = "scheduler_frames_dispatched_per_pass",
        "Frames dispatched in a pass.",
        pass_dispatched(cluster: &Cluster, frames: u64) {
            with_label_values(&[cluster.kind_name()]).observe(as_f64(frames))
        };
    pass_ends: IntCounterVec(one_of("reason", PassEnd::VARIANTS)) = "scheduler_pass_terminated_reason_total",
        "Passes, by why they ended.";
    checkouts: IntCounterVec(one_of("outcome", CheckoutOutcome::VARIANTS)) = "scheduler_checkout_outcome_total",
        "Layers considered in passes, by what became of the hosts they were given.",
        checkout(outcome: CheckoutOutcome) { with_label_values(&[outcome.into_str()]).inc() };

    waiting_frames: IntGaugeVec(of_shows_and("reason")) = "scheduler_waiting_frames",
        "Frames that the last pass left waiting, as counters have them, by show and the one reason that holds.";
    waiting_layers: IntGaugeVec(one_of("reason", WaitReason::VARIANTS)) = "scheduler_waiting_layers",
        "Layers with frames that the last pass left waiting, by the one reason that holds.";
    hosts: IntGaugeVec(one_of("state", HostState::VARIANTS)) = "scheduler_hosts",
        "Hosts of the last snapshot, by whether they take bookings.";
    odd_hosts: IntGaugeVec(one_of("oddity", HostOddity::VARIANTS)) = "scheduler_odd_hosts",
        "Hosts of the last snapshot whose report says what cannot be; the log names them.";
    failing_hosts: IntGaugeVec(any("host")) = "scheduler_failing_hosts",
        "1 for each host that rests, as frames of several jobs fail on it at once and run on others.";
    failing_hosts_kept: IntGauge = "scheduler_failing_hosts_kept",
        "Hosts on which frames of several jobs fail at once and that do not rest: so many are not broken at once.",
        set_failing_hosts_kept(hosts: usize) { set(as_i64(hosts)) };
    left_out_rows: IntGaugeVec(any("table")) = "scheduler_left_out_rows",
        "Rows that the last snapshot could not use; the log names them.";
    passes: IntCounter = "scheduler_passes_total",
        "Passes ended.";
    pass_duration: Histogram(PASS_BUCKETS) = "scheduler_pass_duration_seconds",
        "Seconds per pass.";
    plan_duration: Histogram(PASS_BUCKETS) = "scheduler_plan_duration_seconds",
        "Seconds per pass that deciding took, without the database.";
    chunk_duration: Histogram(PASS_BUCKETS) = "scheduler_chunk_duration_seconds",
        "Seconds per booking transaction, retries included.";
    chunks_rolled_back: IntCounter = "scheduler_chunks_rolled_back_total",
        "Booking transactions rolled back and tried again with less, or after a deadlock.";
    bookings_lost: IntCounterVec(any("reason")) = "scheduler_bookings_lost_total",
        "Planned frames that were not booked because the plan no longer held when it was written.",
        booking_lost(reason: &'static str) { with_label_values(&[reason]).inc() };
    unbooked: IntCounterVec(any("cause")) = "scheduler_unbooked_total",
        "Bookings taken back.",
        unbooked(cause: &'static str, bookings: u64) { with_label_values(&[cause]).inc_by(bookings) };
    unsettled_bookings: IntGauge = "scheduler_unsettled_bookings",
        "Bookings whose launch is neither known to run nor known not to.",
        set_unsettled_bookings(bookings: usize) { set(as_i64(bookings)) };
    launches: IntCounterVec(one_of("outcome", LaunchResult::VARIANTS)) = "scheduler_launches_total",
        "Launches, by what came of them.",
        launch_ended(result: LaunchResult) { with_label_values(&[result.into_str()]).inc() };
    launches_in_flight: IntGauge = "scheduler_launches_in_flight",
        "Launches sent and not answered yet.";
    launch_duration: Histogram(QUERY_BUCKETS) = "scheduler_launch_duration_seconds",
        "Seconds from sending a launch to its answer.",
        launch_answered(duration: Duration) { observe(duration.as_secs_f64()) };
    statements: IntCounter = "scheduler_statements_total",
        "Statements sent to the database.";
    rows_read: IntCounter = "scheduler_rows_read_total",
        "Rows that statements returned.";
    rows_written: IntCounter = "scheduler_rows_written_total",
        "Rows that statements wrote, triggers not counted.";
    statements_per_pass: Histogram(STATEMENT_BUCKETS) = "scheduler_statements_per_pass",
        "Statements sent in a pass.";
    rows_per_pass: Histogram(ROW_BUCKETS) = "scheduler_rows_per_pass",
        "Rows read and written in a pass.";
    drift_repaired: IntCounterVec(one_of("table", CounterTable::VARIANTS)) = "scheduler_drift_repaired_rows_total",
        "Counter and host rows that had gone wrong against what the procs hold and were corrected.",
        drift_repaired(table: &'static str, rows: u64) { with_label_values(&[table]).inc_by(rows) };
    releases_accounted: IntCounterVec(one_of("table", CounterTable::VARIANTS)) = "scheduler_releases_accounted_rows_total",
        "Counter rows from which releases were subtracted that Cuebot leaves to its show's scheduler.",
        releases_accounted(table: &'static str, rows: u64) { with_label_values(&[table]).inc_by(rows) };
    releases_unreadable: IntCounter = "scheduler_release_notices_unreadable_total",
        "Notifications about releases that are not what Cuebot writes, and were ignored.",
        release_unreadable() { inc() };
    database_up: IntGauge = "scheduler_database_up",
        "1 while the database answers.",
        set_database_up(is_up: bool) { set(i64::from(is_up)) };
    flags_switched_off: IntCounterVec(any("show_name")) = "scheduler_flag_switched_off_total",
        "Times that the scheduler flag of a show was switched off while it was booked here.",
        flag_switched_off(show_name: &str) { with_label_values(&[show_name]).inc() };
    foreign_bookings: IntCounterVec(any("show_name")) = "scheduler_foreign_bookings_total",
        "Bookings of shows served here that no scheduler like this one made.",
        foreign_booked(show_name: &str, bookings: u64) { with_label_values(&[show_name]).inc_by(bookings) };
    redirects: IntCounterVec(one_of("result", RedirectEnd::VARIANTS)) = "scheduler_redirects_total",
        "Orders of operators that a proc goes to another job or group, by what became of them.",
        redirect_ended(end: RedirectEnd) { with_label_values(&[end.into_str()]).inc() };
    selection_problems: IntGauge = "scheduler_selection_problems",
        "Names of the settings that do not exist, or that lead to several facilities; the log names them.",
        set_selection_problems(names: usize) { set(as_i64(names)) };
    unserved_frames: IntGauge = "scheduler_unserved_frames",
        "Frames that wait of shows that are flagged for a scheduler and that nobody books; the log names the shows.",
        set_unserved_frames(frames: u64) { set(i64::try_from(frames).unwrap_or(i64::MAX)) };
    held_back: IntGaugeVec(of_kind_and("name")) = "scheduler_held_back",
        "1 for each layer and host that is held back for a while after failures, of each kind the first hundred.";
    cuebot_silent: IntGauge = "scheduler_cuebot_silent",
        "1 while no host report arrives, so that nothing is booked or launched.";
    cuebot_silences: IntCounter = "scheduler_cuebot_silences_total",
        "Times that host reports ceased to arrive at all.",
        cuebot_fell_silent() { inc() };
    newest_report_age: IntGauge = "scheduler_newest_host_report_age_seconds",
        "Seconds since Cuebot last wrote a report of any host.";
    dry_run: IntGauge = "scheduler_dry_run",
        "1 while bookings are only previewed: nothing is written and nothing launched.",
        set_dry_run(is_dry_run: bool) { set(i64::from(is_dry_run)) };
}

impl Metrics {
    /// Declares all metrics in `registry`.
    ///
    /// # Errors
    /// A registry takes each name once: a second [`Metrics`] in the same one is refused.
    pub fn new(registry: &Registry) -> Result<Self, MetricsError> {
        const VERSION: &str = env!("CARGO_PKG_VERSION");
        let version = one_of("version", &[VERSION]);
        let build: IntGaugeVec = declare(registry, "scheduler_build_info", "1, labelled with the version.", version)?;
        build.with_label_values(&[VERSION]).set(1);
        // Dashboards ask for these two; hosts have no scores here, and no layer gives up within a pass.
        let help = "Scores of the chosen hosts, where the strategy scores.";
        let _: Histogram = declare(registry, "scheduler_placement_score_chosen", help, SCORE_BUCKETS)?;
        let help = "Layers that stopped waiting for hosts after losing race upon race in one pass.";
        let _: IntCounter = declare(registry, "scheduler_placement_inner_retries_exhausted_total", help, ())?;
        Self::declare(registry)
    }
}

/// Whatever names come.
fn any(name: &'static str) -> Label {
    Label { names: vec![name], values: Vec::new() }
}

/// Series of a show come with its work.
fn of_shows_and(name: &'static str) -> Label {
    Label { names: vec!["show_name", name], values: Vec::new() }
}

/// Of things by their name, which are there for a while.
fn of_kind_and(name: &'static str) -> Label {
    Label { names: vec!["kind", name], values: Vec::new() }
}

fn one_of(name: &'static str, values: &[&'static str]) -> Label {
    Label { names: vec![name], values: values.to_vec() }
}

fn cluster_kinds() -> Label {
    Label { names: vec!["cluster_type"], values: Cluster::kind_names().collect() }
}
