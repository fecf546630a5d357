//! Every metric: its name, its type, its labels and its buckets, in one place.
//!
//! Names that dashboards of the earlier Rust scheduler know are kept, with their buckets. Values of
//! closed lists are there from the start with zero, so that a rate over a new series is right.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::declare::{Declare, MetricsError};
use super::labels::{
    CLUSTER_KINDS, CapTable, CheckoutOutcome, HOST_STATES, LaunchResult, PassEnd, REPAIRED_TABLES, RedirectEnd,
};
use crate::model::WaitReason;

const CANDIDATE_BUCKETS: [f64; 6] = [1.0, 5.0, 10.0, 20.0, 50.0, 100.0];
const TIME_TO_BOOK_BUCKETS: [f64; 9] = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const QUERY_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
const RECOMPUTE_BUCKETS: [f64; 12] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];
const ROUND_TRIP_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
const FRAMES_PER_PASS_BUCKETS: [f64; 9] = [0.0, 1.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 500.0];
const SCORE_BUCKETS: [f64; 11] = [0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0];
const PASS_BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const STATEMENT_BUCKETS: [f64; 9] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const ROW_BUCKETS: [f64; 8] = [0.0, 10.0, 100.0, 1000.0, 5000.0, 10_000.0, 50_000.0, 100_000.0];

/// Handles to all metrics of one scheduler. Cloning shares them. Two schedulers in one process have
/// a registry each.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) jobs_queried: IntCounter,
    pub(super) jobs_processed: IntCounterVec,
    pub(super) frames_dispatched: IntCounterVec,
    pub(super) no_candidate_iterations: IntCounter,
    pub(super) candidates_per_layer: Histogram,
    pub(super) time_to_book: Histogram,
    pub(super) job_query_duration: Histogram,
    pub(super) limit_exceeded: IntCounterVec,
    pub(super) job_cap_skips: IntCounter,
    pub(super) recompute_duration: Histogram,
    pub(super) cluster_round_trip: HistogramVec,
    pub(super) clusters: IntGaugeVec,
    pub(super) clusters_active: IntGauge,
    pub(super) clusters_sleeping: IntGauge,
    pub(super) active_tags: IntGauge,
    pub(super) active_scan_duration: Histogram,
    pub(super) frames_per_pass: HistogramVec,
    pub(super) pass_ends: IntCounterVec,
    pub(super) checkouts: IntCounterVec,
    pub(super) placement_score: Histogram,
    pub(super) placement_retries_exhausted: IntCounter,

    pub(super) waiting_frames: IntGaugeVec,
    pub(super) waiting_layers: IntGaugeVec,
    pub(super) hosts: IntGaugeVec,
    pub(super) left_out_rows: IntGaugeVec,
    pub(super) passes: IntCounter,
    pub(super) pass_duration: Histogram,
    pub(super) plan_duration: Histogram,
    pub(super) chunk_duration: Histogram,
    pub(super) chunks_rolled_back: IntCounter,
    pub(super) bookings_lost: IntCounterVec,
    pub(super) unbooked: IntCounterVec,
    pub(super) unsettled_bookings: IntGauge,
    pub(super) launches: IntCounterVec,
    pub(super) launches_in_flight: IntGauge,
    pub(super) launch_duration: Histogram,
    pub(super) statements: IntCounter,
    pub(super) rows_read: IntCounter,
    pub(super) rows_written: IntCounter,
    pub(super) statements_per_pass: Histogram,
    pub(super) rows_per_pass: Histogram,
    pub(super) drift_repaired: IntCounterVec,
    pub(super) releases_accounted: IntCounterVec,
    pub(super) releases_unreadable: IntCounter,
    pub(super) database_up: IntGauge,
    pub(super) flags_switched_off: IntCounterVec,
    pub(super) foreign_bookings: IntCounterVec,
    pub(super) redirects: IntCounterVec,
    pub(super) cuebot_silent: IntGauge,
    pub(super) cuebot_silences: IntCounter,
    pub(super) newest_report_age: IntGauge,
    pub(super) paused: IntGauge,
    pub(super) dry_run: IntGauge,
}

impl Metrics {
    /// Declares all metrics in `registry`.
    ///
    /// # Errors
    /// A registry takes each name once: a second [`Metrics`] in the same one is refused.
    #[expect(clippy::too_many_lines, reason = "a table: one entry per metric")]
    pub fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let declare = Declare(registry);
        let metrics = Self {
            jobs_queried: declare
                .counter("scheduler_jobs_queried_total", "Jobs with waiting work read from the database.")?,
            jobs_processed: declare.counters(
                "scheduler_jobs_processed_total",
                "Jobs of which a pass booked at least one frame.",
                "show_name",
            )?,
            frames_dispatched: declare.counters(
                "scheduler_frames_dispatched_total",
                "Frames booked and launched on a host.",
                "show_name",
            )?,
            no_candidate_iterations: declare.counter(
                "scheduler_no_candidate_iterations_total",
                "Times that a layer with waiting frames was given no host in a pass.",
            )?,
            candidates_per_layer: declare.histogram(
                "scheduler_candidates_per_layer",
                "Hosts that a layer was given in a pass.",
                &CANDIDATE_BUCKETS,
            )?,
            time_to_book: declare.histogram(
                "scheduler_time_to_book_seconds",
                "Seconds from a frame's becoming ready to its booking.",
                &TIME_TO_BOOK_BUCKETS,
            )?,
            job_query_duration: declare.histogram(
                "scheduler_job_query_duration_seconds",
                "Seconds that reading hosts, waiting layers and caps took.",
                &QUERY_BUCKETS,
            )?,
            limit_exceeded: declare.counters(
                "scheduler_accounting_limit_exceeded_total",
                "Bookings that a cap stopped when they were written, by the cap's table.",
                "table",
            )?,
            job_cap_skips: declare.counter(
                "scheduler_job_cap_precheck_skip_total",
                "Layers that a pass left waiting because their job is at its cap.",
            )?,
            recompute_duration: declare.histogram(
                "scheduler_recompute_cycle_duration_seconds",
                "Seconds that comparing counters with procs took, repairs included.",
                &RECOMPUTE_BUCKETS,
            )?,
            cluster_round_trip: declare.histograms(
                "scheduler_cluster_round_trip_seconds",
                "Seconds between two looks at a cluster.",
                "cluster_type",
                &ROUND_TRIP_BUCKETS,
            )?,
            clusters: declare.gauges("scheduler_clusters_total", "Clusters of this scheduler.", "cluster_type")?,
            clusters_active: declare.gauge("scheduler_clusters_active", "Clusters with waiting work.")?,
            clusters_sleeping: declare.gauge("scheduler_clusters_sleeping", "Clusters without waiting work.")?,
            active_tags: declare.gauge("scheduler_active_tags", "Different tags of clusters with waiting work.")?,
            active_scan_duration: declare.histogram(
                "scheduler_active_scan_duration_seconds",
                "Seconds that asking whether anything changed took.",
                &QUERY_BUCKETS,
            )?,
            frames_per_pass: declare.histograms(
                "scheduler_frames_dispatched_per_pass",
                "Frames dispatched in a pass.",
                "cluster_type",
                &FRAMES_PER_PASS_BUCKETS,
            )?,
            pass_ends: declare.counters(
                "scheduler_pass_terminated_reason_total",
                "Passes, by why they ended.",
                "reason",
            )?,
            checkouts: declare.counters(
                "scheduler_checkout_outcome_total",
                "Layers considered in passes, by what became of the hosts they were given.",
                "outcome",
            )?,
            placement_score: declare.histogram(
                "scheduler_placement_score_chosen",
                "Scores of the chosen hosts, where the strategy scores.",
                &SCORE_BUCKETS,
            )?,
            placement_retries_exhausted: declare.counter(
                "scheduler_placement_inner_retries_exhausted_total",
                "Layers that stopped waiting for hosts after losing race upon race in one pass.",
            )?,

            waiting_frames: declare.gauges(
                "scheduler_waiting_frames",
                "Frames that the last pass left waiting, as counters have them, by the one reason that holds.",
                "reason",
            )?,
            waiting_layers: declare.gauges(
                "scheduler_waiting_layers",
                "Layers with frames that the last pass left waiting, by the one reason that holds.",
                "reason",
            )?,
            hosts: declare.gauges(
                "scheduler_hosts",
                "Hosts of the last snapshot, by whether they take bookings.",
                "state",
            )?,
            left_out_rows: declare.gauges(
                "scheduler_left_out_rows",
                "Rows that the last snapshot could not use; the log names them.",
                "table",
            )?,
            passes: declare.counter("scheduler_passes_total", "Passes ended.")?,
            pass_duration: declare.histogram("scheduler_pass_duration_seconds", "Seconds per pass.", &PASS_BUCKETS)?,
            plan_duration: declare.histogram(
                "scheduler_plan_duration_seconds",
                "Seconds per pass that deciding took, without the database.",
                &PASS_BUCKETS,
            )?,
            chunk_duration: declare.histogram(
                "scheduler_chunk_duration_seconds",
                "Seconds per booking transaction, retries included.",
                &PASS_BUCKETS,
            )?,
            chunks_rolled_back: declare.counter(
                "scheduler_chunks_rolled_back_total",
                "Booking transactions rolled back and tried again with less, or after a deadlock.",
            )?,
            bookings_lost: declare.counters(
                "scheduler_bookings_lost_total",
                "Planned frames that were not booked because the plan no longer held when it was written.",
                "reason",
            )?,
            unbooked: declare.counters("scheduler_unbooked_total", "Bookings taken back.", "cause")?,
            unsettled_bookings: declare.gauge(
                "scheduler_unsettled_bookings",
                "Bookings whose launch is neither known to run nor known not to.",
            )?,
            launches: declare.counters("scheduler_launches_total", "Launches, by what came of them.", "outcome")?,
            launches_in_flight: declare.gauge("scheduler_launches_in_flight", "Launches sent and not answered yet.")?,
            launch_duration: declare.histogram(
                "scheduler_launch_duration_seconds",
                "Seconds from sending a launch to its answer.",
                &QUERY_BUCKETS,
            )?,
            statements: declare.counter("scheduler_statements_total", "Statements sent to the database.")?,
            rows_read: declare.counter("scheduler_rows_read_total", "Rows that statements returned.")?,
            rows_written: declare
                .counter("scheduler_rows_written_total", "Rows that statements wrote, triggers not counted.")?,
            statements_per_pass: declare.histogram(
                "scheduler_statements_per_pass",
                "Statements sent in a pass.",
                &STATEMENT_BUCKETS,
            )?,
            rows_per_pass: declare.histogram(
                "scheduler_rows_per_pass",
                "Rows read and written in a pass.",
                &ROW_BUCKETS,
            )?,
            drift_repaired: declare.counters(
                "scheduler_drift_repaired_rows_total",
                "Counter and host rows that had gone wrong against what the procs hold and were corrected.",
                "table",
            )?,
            releases_accounted: declare.counters(
                "scheduler_releases_accounted_rows_total",
                "Counter rows from which releases were subtracted that Cuebot leaves to its show's scheduler.",
                "table",
            )?,
            releases_unreadable: declare.counter(
                "scheduler_release_notices_unreadable_total",
                "Notifications about releases that are not what Cuebot writes, and were ignored.",
            )?,
            database_up: declare.gauge("scheduler_database_up", "1 while the database answers.")?,
            flags_switched_off: declare.counters(
                "scheduler_flag_switched_off_total",
                "Times that the scheduler flag of a show was switched off while it was booked here.",
                "show_name",
            )?,
            foreign_bookings: declare.counters(
                "scheduler_foreign_bookings_total",
                "Bookings of shows served here that no scheduler like this one made.",
                "show_name",
            )?,
            redirects: declare.counters(
                "scheduler_redirects_total",
                "Orders of operators that a proc goes to another job or group, by what became of them.",
                "result",
            )?,
            cuebot_silent: declare.gauge(
                "scheduler_cuebot_silent",
                "1 while no host report arrives, so that nothing is booked or launched.",
            )?,
            cuebot_silences: declare
                .counter("scheduler_cuebot_silences_total", "Times that host reports ceased to arrive at all.")?,
            newest_report_age: declare.gauge(
                "scheduler_newest_host_report_age_seconds",
                "Seconds since Cuebot last wrote a report of any host.",
            )?,
            paused: declare.gauge("scheduler_paused", "1 while the scheduler books nothing by decision.")?,
            dry_run: declare.gauge(
                "scheduler_dry_run",
                "1 while bookings are only previewed: nothing is written and nothing launched.",
            )?,
        };
        let build = declare.gauges("scheduler_build_info", "1, labelled with the version.", "version")?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.start_closed_lists();
        Ok(metrics)
    }

    fn start_closed_lists(&self) {
        for reason in WaitReason::ALL {
            self.waiting_frames.with_label_values(&[reason.as_str()]);
            self.waiting_layers.with_label_values(&[reason.as_str()]);
        }
        for kind in CLUSTER_KINDS {
            self.clusters.with_label_values(&[kind]);
            self.cluster_round_trip.with_label_values(&[kind]);
            self.frames_per_pass.with_label_values(&[kind]);
        }
        for state in HOST_STATES {
            self.hosts.with_label_values(&[state]);
        }
        for table in REPAIRED_TABLES {
            self.drift_repaired.with_label_values(&[table]);
            self.releases_accounted.with_label_values(&[table]);
        }
        for table in CapTable::ALL {
            self.limit_exceeded.with_label_values(&[table.as_str()]);
        }
        for end in PassEnd::ALL {
            self.pass_ends.with_label_values(&[end.as_str()]);
        }
        for outcome in CheckoutOutcome::ALL {
            self.checkouts.with_label_values(&[outcome.as_str()]);
        }
        for end in RedirectEnd::ALL {
            self.redirects.with_label_values(&[end.as_str()]);
        }
        for result in LaunchResult::ALL {
            self.launches.with_label_values(&[result.as_str()]);
        }
    }
}
