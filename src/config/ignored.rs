//! Keys of the published scheduler that this one has no use for. They are accepted, so that its
//! files load, and named when they are set, with what to do instead.

/// Path of each, and why it has no effect.
pub const fn ignored_keys() -> &'static [(&'static str, &'static str)] {
    IGNORED
}

pub(super) const IGNORED: &[(&str, &str)] = &[
    ("sentry_dsn", "errors go to the log and the metrics"),
    ("queue.cluster_empty_sleep", "an idle farm is watched by a cheap probe, see queue.active_scan_interval"),
    ("queue.max_jobs_per_cluster_pass", "a pass looks at all waiting jobs"),
    ("queue.stream.cluster_buffer_size", "a pass plans all clusters together"),
    ("queue.stream.job_buffer_size", "a pass plans all jobs together, see queue.booking_chunks_in_flight"),
    ("queue.host_candidate_attempts_per_layer", "a pass considers every host"),
    ("queue.host_booking_strategy.max_candidates", "a pass considers every host"),
    ("queue.host_booking_strategy.weights.cores", STRATEGY),
    ("queue.host_booking_strategy.weights.mem", STRATEGY),
    ("queue.host_booking_strategy.weights.gpus", STRATEGY),
    ("queue.host_booking_strategy.weights.gpu_mem", STRATEGY),
    ("queue.host_booking_strategy.weights.gpu_count_reservation", STRATEGY),
    ("queue.host_booking_strategy.weights.gpu_mem_reservation", STRATEGY),
    ("queue.mem_reserved_min", "a booking writes Cuebot's own smallest memory as used"),
    ("queue.allocation_refresh_interval", CAPS),
    ("queue.subscription_recalculation_interval", REPAIR),
    ("queue.resource_recalculation_interval", REPAIR),
    ("host_cache.concurrent_groups", HOSTS),
    ("host_cache.memory_key_divisor", "hosts are compared by their exact memory"),
    ("host_cache.checkout_timeout", "no host is checked out; a host waits only for launches under way"),
    ("host_cache.monitoring_interval", HOSTS),
    ("host_cache.clean_up_interval", HOSTS),
    ("host_cache.group_idle_timeout", HOSTS),
    ("host_cache.concurrent_fetch_permit", HOSTS),
    ("host_cache.update_stat_on_book", "measured memory is Cuebot's to write"),
    ("accounting.limit_reseed_interval", CAPS),
    ("accounting.managed_shows_ttl", "shows are read with the clusters, see queue.cluster_reload_interval"),
    ("accounting.redis", "counters are kept in the database alone"),
];

/// Those that are sections, of whatever keys.
const SECTIONS: &[&str] = &["accounting.redis"];

const HOSTS: &str = "all hosts are read anew in every pass";
const CAPS: &str = "caps are read anew in every pass";
const REPAIR: &str = "counters are repaired every accounting.recompute_interval";
const STRATEGY: &str = "hosts are chosen by the two saturation flags";

/// Published misspellings of ignored keys.
const ALIASES: &[(&str, &str)] = &[
    ("queue.host_candidate_attemps_per_layer", "queue.host_candidate_attempts_per_layer"),
    ("queue.concurrent_groups", "host_cache.concurrent_groups"),
];

/// Values of published files that mean nothing here, what each is taken for, and why.
const VALUES: &[(&str, &str, &str, &str)] = &[
    ("logging.level", "debug:sqlx=info", "debug,sqlx=info", "directives are parted by commas"),
    ("queue.host_booking_strategy.type", "epvm", "saturation", STRATEGY),
];

/// What a published value is taken for, and that in words that follow the key's name.
pub(super) fn taken_for(key: &str, value: &str) -> Option<(&'static str, String)> {
    let (_, value, other, why) =
        VALUES.iter().find(|(of, published, ..)| *of == key && published.eq_ignore_ascii_case(value.trim()))?;
    Some((other, format!("{value} has no meaning here and is taken for {other}: {why}")))
}

/// The right spelling of an ignored key and why it has no effect.
pub(super) fn find(path: &str) -> Option<(&'static str, &'static str)> {
    let right = ALIASES.iter().find(|(alias, _)| *alias == path).map_or(path, |(_, right)| right);
    let holds = |section: &&&str| right.strip_prefix(**section).is_some_and(|rest| rest.starts_with('.'));
    let right = SECTIONS.iter().find(holds).copied().unwrap_or(right);
    IGNORED.iter().find(|(ignored, _)| *ignored == right).copied()
}
