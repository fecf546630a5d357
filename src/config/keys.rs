//! The table of keys: how each is spelt, read and shown. Whatever lists keys goes over this.

use super::types::Config;
use super::value::{self, Complaint, Read, Show};
use super::yaml::{Given, Value};

/// What the names of variables that set a key begin with.
pub const VARIABLE_PREFIX: &str = "OPENSCHEDULER_";

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// With dots, as in `queue.monitor_interval`.
    pub path: &'static str,
    /// Whether its value is never shown.
    pub is_secret: bool,
    /// Whether a running service cannot take another value, since something is made with it once, such as
    /// threads, connections, pages and the log. All others are asked for again by each pass or round.
    pub is_fixed: bool,
    /// Other spellings, in full.
    pub(super) aliases: &'static [&'static str],
    pub(super) set: Set,
    show: fn(&Config) -> String,
    take: Take,
}

type Set = fn(&mut Config, &Given) -> Result<(), Complaint>;
/// Takes the value of other settings. Returns whether it was another one.
type Take = fn(&mut Config, &Config) -> bool;

impl Key {
    const fn new(path: &'static str, set: Set, show: fn(&Config) -> String) -> Self {
        Self { path, is_secret: false, is_fixed: false, aliases: &[], set, show, take: |_, _| false }
    }

    /// The value in effect, as it could be written in an environment variable; a secret as `***`,
    /// and empty text for none.
    pub fn value(&self, config: &Config) -> String {
        (self.show)(config)
    }

    /// The name of the variable that sets it and that every shell can export.
    pub fn variable(&self) -> String {
        format!("{}{}", VARIABLE_PREFIX, self.path.replace('.', "__").to_uppercase())
    }

    pub(super) const fn spelt(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn taken(mut self, take: Take) -> Self {
        self.take = take;
        self
    }

    const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    const fn fixed(mut self) -> Self {
        self.is_fixed = true;
        self
    }
}

macro_rules! key {
    ($section:ident . $field:ident, $read:expr) => {
        key!(concat!(stringify!($section), ".", stringify!($field)) => $section.$field, $read)
    };
    ($path:expr => $($field:ident).+, $read:expr) => {
        Key::new(
            $path,
            |config, given| {
                config.$($field).+ = $read(given)?;
                Ok(())
            },
            |config| config.$($field).+.show(),
        )
        .taken(|config, other| {
            #[allow(clippy::float_cmp, reason = "any other number is another setting")]
            let is_other = config.$($field).+ != other.$($field).+;
            config.$($field).+ = other.$($field).+.clone();
            is_other
        })
    };
}

/// All keys, in the order of the shipped file.
pub const fn keys() -> &'static [Key] {
    KEYS
}

impl Config {
    /// What these settings come to in a service that runs with other ones: the fixed keys keep the values that it
    /// was started with. Returns the keys that change, and those that would after a restart.
    pub fn adopted_by(mut self, running: &Self) -> (Self, Vec<&'static str>, Vec<&'static str>) {
        let (mut changed, mut waiting) = (Vec::new(), Vec::new());
        // A password in a file of its own is read from there again whenever it is needed.
        let is_password_in_file = self.database.db_pass_file.is_some();
        for key in keys() {
            if !key.is_fixed {
                if (key.take)(&mut self.clone(), running) {
                    changed.push(key.path);
                }
            } else if (key.take)(&mut self, running) && !(key.is_secret && is_password_in_file) {
                waiting.push(key.path);
            }
        }
        (self, changed, waiting)
    }
}

/// Cuebot takes a booking that no agent reports for lost after 300 seconds; calls must end well before.
const CALL_SECONDS_MAX: u64 = 60;
/// Half of that: what was not launched by then is taken back.
const LAUNCH_SECONDS_MAX: u64 = 150;

/// One connection may be kept for listening to Cuebot's messages, and work needs another.
const POOL_SIZE_MIN: u64 = 2;

const KEYS: &[Key] = &[
    key!("written_for" => written_for, value::if_any(value::version)),
    key!(logging.level, value::log_filter).fixed(),
    key!(logging.format, value::one_of).fixed(),
    key!(logging.file_appender, value::yes_or_no).fixed(),
    key!(logging.path, value::path).fixed(),
    key!(database.pool_size, value::count::<_, POOL_SIZE_MIN, 1_000>).fixed(),
    key!(database.db_host, value::database_host).fixed(),
    key!(database.db_port, port).fixed(),
    key!(database.db_name, value::word).fixed(),
    key!(database.db_user, value::word).fixed(),
    key!(database.db_pass, value::secret_if_any).secret().fixed(),
    key!(database.db_pass_file, value::if_any(value::path)).fixed(),
    key!(database.tls, value::one_of).fixed(),
    key!(database.tls_root_certificate, value::if_any(value::path)).fixed(),
    key!(database.allow_cleartext_password, value::yes_or_no).fixed(),
    Key::new("database.core_multiplier", core_multiplier, |_| "100".to_owned()).fixed(),
    key!("rqd.grpc_port" => rqd.agents.port, port).fixed(),
    key!(rqd.dry_run_mode, value::yes_or_no).fixed(),
    key!(rqd.fractional_cores, value::one_of),
    key!("rqd.connect_timeout" => rqd.agents.connect_timeout, value::duration_up_to::<CALL_SECONDS_MAX>).fixed(),
    key!("rqd.launch_timeout" => rqd.agents.call_timeout, value::duration_up_to::<CALL_SECONDS_MAX>).fixed(),
    key!(rqd.launch_deadline, value::duration_up_to::<LAUNCH_SECONDS_MAX>),
    key!(rqd.confirm_interval, value::duration_up_to::<CALL_SECONDS_MAX>),
    key!("rqd.launches_in_flight" => rqd.agents.calls_in_flight_max, value::count::<_, 1, 100_000>).fixed(),
    key!("rqd.launches_in_flight_per_host" => rqd.agents.calls_per_host_max, value::count::<_, 1, 1_000>).fixed(),
    key!(rqd.breaker_failures, value::count::<_, 0, 1_000>).fixed(),
    key!(rqd.breaker_cool_down, value::duration).fixed(),
    key!(queue.monitor_interval, value::duration),
    key!(queue.active_scan_interval, value::duration),
    key!(queue.cluster_saturated_sleep, value::duration_or_zero),
    key!(queue.cluster_reload_interval, value::duration),
    key!(queue.worker_threads, value::count::<_, 1, 1_024>).fixed(),
    key!(queue.dispatch_frames_per_layer_limit, value::count::<_, 1, 1_000_000>),
    key!(queue.frames_per_pass_limit, value::count::<_, 1, 10_000_000>),
    key!(queue.job_order, value::one_of),
    Key::new("queue.host_booking_strategy.type", host_strategy, |_| "saturation".to_owned()),
    key!("queue.host_booking_strategy.core_saturation" => queue.host_booking_strategy.core_saturation, value::yes_or_no),
    key!("queue.host_booking_strategy.memory_saturation" => queue.host_booking_strategy.memory_saturation, value::yes_or_no),
    key!(queue.host_load, value::one_of),
    key!(queue.memory_stranded_threshold, value::size),
    key!(queue.gpu_keep, value::gpu_keep),
    key!(queue.selfish_services, value::names),
    key!(queue.job_back_off_duration, value::duration_or_zero),
    key!(queue.retry_elsewhere, value::duration_or_zero).fixed(),
    key!(queue.rest_failing_hosts, value::yes_or_no).fixed(),
    key!(queue.layer_delay_rules, value::delay_rules),
    key!("queue.manual_tags_chunk_size" => queue.tag_chunk_sizes.manual, value::count::<_, 1, 100_000>),
    key!("queue.hostname_tags_chunk_size" => queue.tag_chunk_sizes.hostname, value::count::<_, 1, 100_000>),
    key!(queue.booking_chunk_size, value::count::<_, 1, 10_000>),
    key!(queue.booking_chunks_in_flight, value::count::<_, 1, 1_000>),
    key!(queue.limit_settle_window, value::duration_or_zero),
    key!("queue.frame_memory_soft_limit" => queue.memory_limits.soft, value::factor),
    key!("queue.frame_memory_hard_limit" => queue.memory_limits.hard, value::factor),
    key!(queue.empty_job_cycles_before_quiting, value::if_any(value::count::<_, 1, 1_000_000_000>))
        .spelt(&["queue.empty_job_cycles_before_quitting"]),
    key!(queue.cuebot_silence, value::cuebot_silence).fixed(),
    key!(queue.lost_after, value::duration),
    key!(queue.shutdown_timeout, value::duration),
    key!(queue.metrics_address, value::address).fixed(),
    key!(queue.metrics_port, value::count::<_, 0, 65_535>).fixed(),
    Key::new("queue.core_multiplier", core_multiplier, |_| "100".to_owned()).fixed(),
    key!(host_cache.host_staleness_threshold, value::duration),
    key!(scheduler.facility, value::if_any(value::word)),
    key!(scheduler.alloc_tags, value::alloc_tags),
    key!(scheduler.manual_tags, value::names),
    key!(scheduler.ignore_tags, value::names),
    key!(scheduler.beside_maestro, value::one_of),
    key!(scheduler.flag_off, value::one_of),
    key!(scheduler.cue_licenses, value::one_of),
    key!(accounting.recompute_interval, value::duration),
];

fn port(given: &Given) -> Read<u16> {
    value::count::<_, 1, 65_535>(given)
}

/// Nothing to choose, but files carry it: Cuebot counts in hundredths of a core and nothing else.
fn core_multiplier(_: &mut Config, given: &Given) -> Result<(), Complaint> {
    match &given.value {
        Value::Text(text) if text.trim() == "100" => Ok(()),
        _ => Err(Complaint::new(given, "must be 100: Cuebot's tables count in hundredths of a core".to_owned())),
    }
}

/// Nothing to choose either, beside the two flags.
fn host_strategy(_: &mut Config, given: &Given) -> Result<(), Complaint> {
    match &given.value {
        Value::Text(text) if text.trim().eq_ignore_ascii_case("saturation") => Ok(()),
        _ => Err(value::expected("saturation", given)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_running_service_adopts_all_but_what_is_fixed_and_names_both() {
        let running = Config::default();
        let mut new = Config::default();
        new.queue.monitor_interval = Duration::from_secs(77);
        new.queue.worker_threads = 9;
        new.database.db_pass = Some(super::super::types::Secret::new("other".to_owned()));
        let (adopted, changed, waiting) = new.clone().adopted_by(&running);
        assert_eq!(changed, ["queue.monitor_interval"]);
        assert_eq!(waiting, ["database.db_pass", "queue.worker_threads"]);
        let expected = Config { queue: new.queue.clone(), ..Config::default() };
        assert_eq!(adopted.queue.worker_threads, running.queue.worker_threads);
        assert_eq!(adopted.queue.monitor_interval, expected.queue.monitor_interval);
        assert_eq!(adopted.database, running.database);
        // A password in a file is read again in any case.
        new.database.db_pass_file = Some("/etc/password".into());
        assert_eq!(new.adopted_by(&running).2, ["database.db_pass_file", "queue.worker_threads"]);
    }
}
