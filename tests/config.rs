//! Configuration as an operator meets it: files, variables and flags in, settings or complaints out.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use cue_scheduler::config::{
    BesideMaestro, Config, ConfigError, FlagValue, FractionalCores, Inputs, Key, Loaded, Place, Tls, Version,
    ignored_keys, keys, load,
};
use cue_scheduler::db::ConnectSettings;
use cue_scheduler::model::{self, AllocTag, JobOrder, Policy, TagChunkSizes};
use cue_scheduler::telemetry::logs::Levels;
use cue_scheduler::units::Kib;

const SHIPPED: &str = include_str!("../config/scheduler.yaml");

/// The sample of the published guide, as an operator copies it.
const GUIDE: &str = "\
logging:
  level: info,sqlx=warn

database:
  pool_size: 20
  db_host: your-postgres-host
  db_name: cuebot
  db_user: cuebot
  db_pass: your_password
  db_port: 5432

rqd:
  grpc_port: 8444
  dry_run_mode: false  # Set to true for testing without actual dispatch

queue:
  monitor_interval: 5s
  worker_threads: 4
  dispatch_frames_per_layer_limit: 20
  manual_tags_chunk_size: 100
  hostname_tags_chunk_size: 300

scheduler:
  # Optional: Filter to a specific facility
  # facility: spi
  
  # Process these allocation clusters (show:tag format)
  alloc_tags:
    - show: myshow
      tag: general
    - show: anothershow
      tag: priority
  
  # Process these manual tags
  manual_tags:
    - urgent
    - desktop
";

/// Settings of a file with `text`, given variables and flags.
struct Given {
    folder: tempfile::TempDir,
    inputs: Inputs,
}

impl Given {
    fn nothing() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), inputs: Inputs::default() }
    }

    fn file(text: impl AsRef<[u8]>) -> Self {
        let mut given = Self::nothing();
        let path = given.path("scheduler.yaml");
        std::fs::write(&path, text).unwrap();
        given.inputs.file = Some(path);
        given
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.inputs.environment.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, flag: FlagValue) -> Self {
        self.inputs.flags.push(flag);
        self
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.inputs)
    }

    /// What is printed, without the folder.
    fn complaints(&self) -> String {
        let error = self.load().expect_err("these settings are wrong");
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

#[test]
fn the_guides_sample_loads() {
    let loaded = Given::file(GUIDE).load().unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.database.db_host, "your-postgres-host");
    assert_eq!(config.database.db_pass.as_ref().unwrap().reveal(), "your_password");
    assert_eq!(config.queue.monitor_interval, Duration::from_secs(5));
    let tag = |show: &str, tag: &str| AllocTag { show: show.to_owned(), tag: tag.to_owned() };
    assert_eq!(config.scheduler.alloc_tags, [tag("myshow", "general"), tag("anothershow", "priority")]);
    assert_eq!(config.selection().manual_tags, ["urgent", "desktop"]);
}

/// The remaining samples of the guide, section by section.
#[test]
fn the_guides_tuning_loads_and_names_what_has_no_effect() {
    let loaded = Given::file(
        "\
queue:
  monitor_interval: 5s                      # How often to check for work
  worker_threads: 4                         # Concurrent workers
  dispatch_frames_per_layer_limit: 20       # Max frames per layer per cycle
  manual_tags_chunk_size: 100               # Manual tags per cluster
  hostname_tags_chunk_size: 300             # Hostname tags per cluster
  host_candidate_attemps_per_layer: 10      # Host matching retries
  job_back_off_duration: 300s               # Backoff after failures

  # Optional: Exit after N idle cycles (useful for testing)
  empty_job_cycles_before_quiting: 10

host_cache:
  concurrent_groups: 3            # Parallel cache groups
  memory_key_divisor: 2GiB        # Memory bucketing granularity
  checkout_timeout: 12s           # Host checkout timeout
  monitoring_interval: 1s         # Cache monitoring frequency
  group_idle_timeout: 10800s      # Evict idle cache after 3 hours
",
    )
    .load()
    .unwrap();
    assert_eq!(loaded.config.queue.empty_job_cycles_before_quiting, Some(10));
    assert_eq!(loaded.config.queue.job_back_off_duration, Duration::from_mins(5));
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "line 7: queue.host_candidate_attempts_per_layer has no effect and can be removed: a pass considers every host",
            "line 14: host_cache.concurrent_groups has no effect and can be removed: all hosts are read anew in every pass",
            "line 15: host_cache.memory_key_divisor has no effect and can be removed: hosts are compared by their exact \
             memory",
            "line 16: host_cache.checkout_timeout has no effect and can be removed: no host is checked out; a host waits \
             only for launches under way",
            "line 17: host_cache.monitoring_interval has no effect and can be removed: all hosts are read anew in every \
             pass",
            "line 18: host_cache.group_idle_timeout has no effect and can be removed: all hosts are read anew in every \
             pass",
        ]
    );
}

/// Every edition of the retired service that was published, with what of it has no use.
#[test]
fn every_published_edition_loads() {
    let editions = [
        (include_str!("data/settings/2025-12.yaml"), 18),
        (include_str!("data/settings/2026-08.yaml"), 18),
        (include_str!("data/settings/planner-branch.yaml"), 10),
    ];
    for (text, without_use) in editions {
        let loaded = Given::file(text).load().unwrap_or_else(|error| panic!("{error}"));
        let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), without_use, "{told:#?}");
        assert_eq!(loaded.config.logging.level, "debug,sqlx=info");
        let comma = "logging.level debug:sqlx=info has no meaning here and is taken for debug,sqlx=info: directives are \
                     parted by commas";
        assert!(told.iter().any(|line| line.ends_with(comma)), "{told:#?}");
    }
    let loaded = Given::file(editions[2].0).load().unwrap();
    let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let strategy = "line 8: queue.host_booking_strategy.type epvm has no meaning here and is taken for saturation: hosts are \
                    chosen by the two saturation flags";
    let redis = "line 31: accounting.redis has no effect and can be removed: counters are kept in the database alone";
    assert!(told.iter().any(|line| line == strategy) && told.iter().any(|line| line == redis), "{told:#?}");
    let given = Given::nothing()
        .variable("OPENSCHEDULER_accounting.redis.url", "redis://h")
        .variable("OPENSCHEDULER_ACCOUNTING__REDIS__POOL__SIZE", "4")
        .variable("OPENSCHEDULER_QUEUE__HOST_BOOKING_STRATEGY__TYPE", "EPVM");
    assert_eq!(given.load().unwrap().warnings.len(), 2);
}

#[test]
fn defaults_that_changed_are_told_until_the_settings_say_so() {
    let told = |given: Given| given.load().unwrap().changed_defaults();
    let all = told(Given::file(""));
    assert!(
        all.iter().any(|line| line
            == "2.1.0: load on a host that is not of its frames takes cores away; the old way: queue.host_load: off"),
        "{all:#?}"
    );
    assert_eq!(told(Given::file("written_for: 2.0.0")), all);
    assert_eq!(told(Given::nothing().variable("OPENSCHEDULER_RQD__GRPC_PORT", "1")), all);
    assert_eq!(told(Given::file(format!("written_for: {}", Version::CURRENT))), [""; 0]);
    assert_eq!(told(Given::nothing()), [""; 0], "no settings were written for another version");
    let of_later = Given::file("written_for: 9.0.0").load().unwrap();
    assert_eq!(of_later.changed_defaults(), [""; 0]);
    let warning = format!("line 1: written_for is 9.0.0, and this is cue-scheduler {}", Version::CURRENT);
    assert_eq!(of_later.warnings[0].to_string(), warning);
}

#[test]
fn every_published_key_is_accepted() {
    let loaded = Given::file(
        "\
sentry_dsn: https://key@sentry.example/1
logging: {level: 'debug,sqlx=info', path: /tmp/s.log, file_appender: true}
queue:
  monitor_interval: 5s
  worker_threads: 4
  dispatch_frames_per_layer_limit: 20
  core_multiplier: 100
  memory_stranded_threshold: 2GiB
  job_back_off_duration: 300s
  cluster_empty_sleep: 30s
  cluster_saturated_sleep: 5s
  cluster_reload_interval: 120s
  active_scan_interval: 2s
  max_jobs_per_cluster_pass: 20
  stream: {cluster_buffer_size: 3, job_buffer_size: 3}
  manual_tags_chunk_size: 50
  hostname_tags_chunk_size: 50
  host_candidate_attempts_per_layer: 10
  empty_job_cycles_before_quitting: 3
  mem_reserved_min: 250MiB
  allocation_refresh_interval: 3s
  subscription_recalculation_interval: 3s
  resource_recalculation_interval: 3s
  selfish_services: [arnold, selfish-service]
  host_booking_strategy:
    core_saturation: false
    memory_saturation: true
    type: saturation
    max_candidates: 10
    weights: {cores: 1.0, mem: 1.0, gpus: 2.0, gpu_mem: 1, gpu_count_reservation: 2, gpu_mem_reservation: 2}
  frame_memory_soft_limit: 1.6
  frame_memory_hard_limit: 2.0
  metrics_port: 9091
database: {pool_size: 20, db_host: localhost, db_port: 5432, db_name: test, db_user: postgres, db_pass: password,
           core_multiplier: 100}
rqd: {grpc_port: 8444, dry_run_mode: false}
host_cache:
  concurrent_groups: 3
  memory_key_divisor: 2GiB
  checkout_timeout: 12s
  monitoring_interval: 10s
  clean_up_interval: 5min
  group_idle_timeout: 3h
  concurrent_fetch_permit: 4
  host_staleness_threshold: 2min
  update_stat_on_book: false
scheduler: {facility: spi, alloc_tags: [{show: s, tag: t}], manual_tags: [m], ignore_tags: [i]}
accounting: {recompute_interval: 15s, limit_reseed_interval: 300s, managed_shows_ttl: 30s, redis: {url: 'redis://h'}}
",
    )
    .load()
    .unwrap();
    assert_eq!(loaded.warnings.len(), ignored_keys().len());
    let config = loaded.config;
    assert_eq!(config.queue.memory_stranded_threshold, Kib::gib(2));
    assert_eq!(config.queue.empty_job_cycles_before_quiting, Some(3));
    let flags = config.policy().host_strategy;
    assert_eq!((flags.core_saturation, flags.memory_saturation), (false, true));
    assert_eq!(config.chunk_sizes(), TagChunkSizes { manual: 50, hostname: 50 });
    assert!(config.policy().selfish_services.contains("selfish-service"));
}

/// Takes the "#" directly before a key away, as the file's own first lines say.
fn uncommented(text: &str) -> String {
    let line = |line: &str| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match rest.strip_prefix('#').filter(|key| key.starts_with(|letter: char| letter.is_ascii_lowercase())) {
            Some(key) => format!("{indent}{key}\n"),
            None => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

/// Paths of the keys in a file of plain, indented `key: value` lines.
fn documented_paths(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut above: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        above.truncate((line.len() - line.trim_start().len()) / 2);
        let (name, value) = line.trim().split_once(':').unwrap();
        above.push(name);
        let path = above.join(".");
        if value.is_empty() && keys().iter().any(|key| key.path.starts_with(&format!("{path}."))) {
            continue;
        }
        paths.push(path);
    }
    paths
}

#[test]
fn the_shipped_file_loads_and_changes_nothing() {
    let loaded = Given::file(SHIPPED).load().unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings, []);
}

#[test]
fn the_shipped_file_documents_every_key_with_its_default() {
    let text = uncommented(SHIPPED);
    let loaded = Given::file(&text).load().unwrap();
    assert_eq!(loaded.config, Config::default());
    let paths: Vec<&str> = keys().iter().map(|key| key.path).collect();
    let mut documented = documented_paths(&text);
    documented.sort_unstable();
    let mut known = paths.clone();
    known.sort_unstable();
    assert_eq!(documented, known);
    let defaults = Config::default();
    for key in keys() {
        let is_stated = matches!(loaded.origins.of(key), Place::File { .. });
        assert_eq!(
            is_stated,
            !key.value(&defaults).is_empty()
                || ["_tags", "_services", "_rules"].iter().any(|end| key.path.ends_with(end)),
            "{}",
            key.path
        );
    }
}

#[test]
fn delay_rules_are_read_by_the_status_that_they_begin_with() {
    for rules in ["\"330:15, 331:30\"", "\"330:15;331=30\"", "[\"330:15\", \"331:30\"]", "[330, 331]"] {
        let loaded = Given::file(format!("queue: {{layer_delay_rules: {rules}}}")).load().unwrap();
        let statuses = loaded.config.queue.layer_delay_rules.iter().map(|rule| rule.exit_status);
        assert_eq!(statuses.collect::<Vec<_>>(), [330, 331], "{rules}");
    }
    assert!(Given::file("queue: {layer_delay_rules: [licence]}").load().is_err());
}

#[test]
fn the_shipped_file_lists_the_keys_without_effect() {
    let list = SHIPPED.split_once("# Keys of the published scheduler without a use here.").unwrap().1;
    for (path, _) in ignored_keys() {
        let (section, word) = path.rsplit_once('.').unwrap_or(("", path));
        let is_there = list.contains(path) || (section.ends_with(".weights") && list.contains(&format!(".{word}")));
        assert!(is_there, "{path}");
    }
}

#[test]
fn defaults_agree_with_the_rooms_that_use_them() {
    let config = Config::default();
    assert_eq!(config.policy(), Policy::default());
    assert_eq!(config.chunk_sizes(), TagChunkSizes::default());
    assert!(config.selection().is_everything());
    let connect = ConnectSettings::default();
    assert_eq!(config.database.db_port, connect.port);
    assert_eq!(config.database.db_name, connect.name);
    assert_eq!(config.database.pool_size, connect.pool_size);
}

#[test]
fn a_shown_value_can_be_read_again() {
    let given = Given::file(
        "{database: {db_host: h, tls: verify-full, tls_root_certificate: /a/b.pem}, queue: {metrics_address: '::1', \
         memory_stranded_threshold: 777KiB, job_order: fifo, selfish_services: [a, b], monitor_interval: 1m 500ms}, \
         scheduler: {alloc_tags: ['a:b', {show: c, tag: d}], beside_maestro: book}, rqd: {fractional_cores: false}}",
    );
    let loaded = given.load().unwrap();
    let mut again = Given::nothing();
    for key in keys().iter().filter(|key| loaded.origins.of(key) != Place::Default) {
        again = again.variable(&key.variable(), &key.value(&loaded.config));
    }
    let again = again.load().unwrap();
    assert_eq!(again.config, loaded.config);
    assert_eq!(again.config.database.tls, Tls::VerifyFull);
    assert_eq!(again.config.scheduler.beside_maestro, BesideMaestro::Book);
    assert_eq!(again.config.rqd.fractional_cores, FractionalCores::No);
    assert_eq!(again.config.policy().fractional_cores, model::FractionalCores::RoundUp);
    assert_eq!(again.config.policy().job_order, JobOrder::Fifo);
}

/// One wrong setting a row, with what is said about it.
const BAD_FILES: &[(&str, &str)] = &[
    (
        "queue:\n  monitor_intervall: 5s",
        "line 2: queue.monitor_intervall: unknown key; did you mean queue.monitor_interval?",
    ),
    ("loging:\n  level: info", "line 1: loging: unknown key; did you mean logging?"),
    ("queue:\n  grpc_port: 8444", "line 2: queue.grpc_port: unknown key; did you mean rqd.grpc_port?"),
    ("database:\n  password: x", "line 2: database.password: unknown key"),
    ("database:\n  db_password: x", "line 2: database.db_password: unknown key; did you mean database.db_pass?"),
    ("database:\n  pool_size: 0", "line 2: database.pool_size: expected a whole number from 2 to 1000, found \"0\""),
    (
        "database:\n  pool_size: twenty",
        "line 2: database.pool_size: expected a whole number from 2 to 1000, found \"twenty\"",
    ),
    (
        "database:\n  pool_size: 2.5",
        "line 2: database.pool_size: expected a whole number from 2 to 1000, found \"2.5\"",
    ),
    ("database:\n  pool_size:", "line 2: database.pool_size: expected a whole number from 2 to 1000, found nothing"),
    ("database: {db_port: 0}", "line 1: database.db_port: expected a whole number from 1 to 65535, found \"0\""),
    ("rqd:\n  grpc_port: 70000", "line 2: rqd.grpc_port: expected a whole number from 1 to 65535, found \"70000\""),
    ("rqd:\n  grpc_port: -1", "line 2: rqd.grpc_port: expected a whole number from 1 to 65535, found \"-1\""),
    ("rqd:\n  dry_run_mode: yes", "line 2: rqd.dry_run_mode: expected true or false, found \"yes\""),
    ("rqd:\n  fractional_cores: maybe", "line 2: rqd.fractional_cores: expected true, false or auto, found \"maybe\""),
    (
        "database:\n  tls: on",
        "line 2: database.tls: expected disable, prefer, require, verify-ca or verify-full, found \"on\"",
    ),
    (
        "database:\n  db_host: postgres://h/d",
        "line 2: database.db_host: expected a host name or address, without scheme and port, or the folder of a Unix socket; a URL is not taken: its parts have keys of their own (db_port, db_name, db_user, db_pass)",
    ),
    (
        "database:\n  db_host: h:5432",
        "line 2: database.db_host: expected a host name or address, without scheme and port, or the folder of a Unix socket; a URL is not taken: its parts have keys of their own (db_port, db_name, db_user, db_pass)",
    ),
    ("database:\n  db_name: ''", "line 2: database.db_name: expected text that is not empty, found empty text"),
    (
        "database:\n  core_multiplier: 10",
        "line 2: database.core_multiplier: must be 100: Cuebot's tables count in hundredths of a core",
    ),
    (
        "database:\n  tls_root_certificate: /x.pem",
        "line 2: database.tls_root_certificate: only looked at when database.tls is verify-ca or verify-full",
    ),
    (
        "queue:\n\n  monitor_interval: -5s",
        "line 3: queue.monitor_interval: expected a duration above 0 and up to 30days, such as 5s or 300ms, found \"-5s\"",
    ),
    (
        "queue:\n  monitor_interval: 5",
        "line 2: queue.monitor_interval: expected a duration above 0 and up to 30days, such as 5s or 300ms, found \"5\"",
    ),
    (
        "queue:\n  monitor_interval: 0s",
        "line 2: queue.monitor_interval: expected a duration above 0 and up to 30days, such as 5s or 300ms, found \"0s\"",
    ),
    (
        "queue:\n  monitor_interval: 2y",
        "line 2: queue.monitor_interval: expected a duration above 0 and up to 30days, such as 5s or 300ms, found \"2y\"",
    ),
    (
        "queue:\n  memory_stranded_threshold: 2097152",
        "line 2: queue.memory_stranded_threshold: expected a size with its unit, such as 2GiB, 1.5GiB or 512MiB, found \"2097152\"",
    ),
    (
        "queue:\n  memory_stranded_threshold: -1GiB",
        "line 2: queue.memory_stranded_threshold: expected a size with its unit, such as 2GiB, 1.5GiB or 512MiB, found \"-1GiB\"",
    ),
    (
        "queue:\n  frame_memory_soft_limit: 3",
        "line 2: queue.frame_memory_soft_limit: the soft limit, 3, is above the hard limit, 2",
    ),
    (
        "queue:\n  frame_memory_hard_limit: .nan",
        "line 2: queue.frame_memory_hard_limit: expected a number above 0, such as 1.6, found \".nan\"",
    ),
    (
        "queue:\n  host_booking_strategy:\n    type: best",
        "line 3: queue.host_booking_strategy.type: expected saturation, found \"best\"",
    ),
    ("accounting:\n  rediss: {}", "line 2: accounting.rediss: unknown key; did you mean accounting.redis?"),
    ("written_for: two", "line 1: written_for: expected a version of this program, such as 2.1.0, found \"two\""),
    ("written_for: 2.1", "line 1: written_for: expected a version of this program, such as 2.1.0, found \"2.1\""),
    (
        "queue:\n  host_booking_strategy: saturation",
        "line 2: queue.host_booking_strategy: expected a section with indented keys, such as queue.host_booking_strategy.type",
    ),
    (
        "queue:\n  selfish_services:\n    - arnold\n    - ''",
        "line 4: queue.selfish_services: expected a name, found empty text",
    ),
    (
        "queue:\n  metrics_address: everywhere",
        "line 2: queue.metrics_address: expected an IP address of this machine, such as 127.0.0.1, found \"everywhere\"",
    ),
    ("queue: 5", "line 1: queue: expected a section with indented keys, such as queue.monitor_interval"),
    (
        "logging:\n  level: warn:sqlx=info",
        "line 2: logging.level: \"warn:sqlx=info\" is not target=level; directives are separated by commas, as in info,sqlx=warn",
    ),
    (
        "logging:\n  level: inof",
        "line 2: logging.level: \"inof\" is no level; levels are off, error, warn, info, debug, trace",
    ),
    ("scheduler:\n  facility: [spi]", "line 2: scheduler.facility: expected text that is not empty, found a list"),
    ("scheduler:\n  facility: ''", "line 2: scheduler.facility: expected text that is not empty, found empty text"),
    ("scheduler:\n  alloc_tags:\n    - show: s", "line 3: scheduler.alloc_tags: an entry lacks its tag"),
    (
        "scheduler:\n  alloc_tags:\n    - show: s\n      tags: t",
        "line 4: scheduler.alloc_tags: unknown key \"tags\"; an entry has show and tag",
    ),
    (
        "scheduler:\n  alloc_tags:\n    - show: s\n      tag: t\n      show: u",
        "line 5: scheduler.alloc_tags: show is there twice in one entry",
    ),
    ("scheduler:\n  alloc_tags: [s, 'a:b:c']", "line 2: scheduler.alloc_tags: expected show:tag, found \"s\""),
    ("queue:\n  worker_threads: 2\n  worker_threads: 4", "line 3: queue.worker_threads: set twice, before at line 2"),
    (
        "queue:\n  empty_job_cycles_before_quiting: 2\n  empty_job_cycles_before_quitting: 2",
        "line 3: queue.empty_job_cycles_before_quitting: set twice, before at line 2",
    ),
    (
        "queue:\n  host_candidate_attemps_per_layer: 2\n  host_candidate_attempts_per_layer: 2",
        "line 3: queue.host_candidate_attempts_per_layer: set twice, before at line 2",
    ),
    ("queue:\n  worker_threads: 2\nrqd:\nqueue:\n  metrics_port: 1", "line 4: queue: set twice, before at line 1"),
    ("- queue", "line 1: expected sections such as `queue:` with indented keys"),
    ("just text", "line 1: expected sections such as `queue:` with indented keys"),
    ("queue:\n  worker_threads: *four", "line 2: not valid YAML: while parsing node, found unknown anchor"),
    ("a: &a 1\nb: *a", "line 2: an alias; write the value out instead"),
    ("queue: {worker_threads: 2}\n---\nqueue: {}", "line 3: a second document; the settings are one document"),
    ("queue:\n\tworker_threads: 2", "line 2: not valid YAML: tabs disallowed within this context (block indentation)"),
    ("queue:\n  worker_threads: [2", "line 3: not valid YAML: while parsing a flow sequence, expected ',' or ']'"),
    ("? [a, b]\n: 1", "line 1: a key that is not a word"),
];

#[test]
fn a_bad_file_is_told_with_line_and_key() {
    let mut differences = String::new();
    for (text, complaint) in BAD_FILES {
        let found = Given::file(text).complaints();
        if found != format!("Failed to load config file scheduler.yaml\n  {complaint}") {
            writeln!(differences, "-- for\n{text}\n-- found\n{found}\n-- wanted\n  {complaint}").unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
    let latin = Given::file(b"queue:\n  # caf\xe9\n").complaints();
    assert_eq!(latin, "Failed to load config file scheduler.yaml\n  line 2: not UTF-8 text");
}

#[track_caller]
fn pretty_eq(found: &str, wanted: &str, case: &str) {
    assert!(found == wanted, "for\n{case}\nfound\n{found}\nwanted\n{wanted}");
}

#[test]
fn nesting_without_end_is_refused() {
    let text = "queue: ".to_owned() + &"[".repeat(50_000);
    let complaints = Given::file(text).complaints();
    assert!(complaints.starts_with("Failed to load config file scheduler.yaml\n  line 1: "), "{complaints}");
}

#[test]
fn all_problems_are_told_at_once() {
    let given = Given::file("queue:\n  monitor_intervall: 5s\n  worker_threads: four\nloging:\n  level: info\n")
        .variable("OPENSCHEDULER_DATABASE__DB_PORT", "http")
        .flag(FlagValue::many("--alloc_tags", "scheduler.alloc_tags", ["show"]));
    assert_eq!(
        given.complaints(),
        "Failed to load config file scheduler.yaml
  line 2: queue.monitor_intervall: unknown key; did you mean queue.monitor_interval?
  line 3: queue.worker_threads: expected a whole number from 1 to 1024, found \"four\"
  line 4: loging: unknown key; did you mean logging?
  OPENSCHEDULER_DATABASE__DB_PORT: database.db_port: expected a whole number from 1 to 65535, found \"http\"
  --alloc_tags: scheduler.alloc_tags: expected show:tag, found \"show\""
    );
}

#[test]
fn nothing_and_comments_are_the_defaults() {
    for text in ["", "\n\n", "# nothing here\n", "---\n", "queue:\nscheduler:\n", "\u{feff}queue:\n", "~", "queue: {}"]
    {
        assert_eq!(Given::file(text).load().unwrap().config, Config::default(), "{text:?}");
    }
    let loaded = Given::nothing().load().unwrap();
    assert_eq!((loaded.config, loaded.file), (Config::default(), None));
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_default() {
    let key = |path: &str| keys().iter().find(|key| key.path == path).unwrap();
    let given = Given::file("scheduler: {facility: of_file, manual_tags: [a], ignore_tags: [x]}\nrqd: {grpc_port: 1}")
        .variable("OPENSCHEDULER_scheduler.facility", "of_environment")
        .variable("OPENSCHEDULER_SCHEDULER__MANUAL_TAGS", "b, c")
        .flag(FlagValue::one("--facility", "scheduler.facility", "of_flag"));
    let loaded = given.load().unwrap();
    assert_eq!(loaded.config.scheduler.facility.as_deref(), Some("of_flag"));
    assert_eq!(loaded.config.scheduler.manual_tags, ["b", "c"]);
    assert_eq!(loaded.config.scheduler.ignore_tags, ["x"]);
    let origin = |path: &str| loaded.origins.of(key(path));
    assert_eq!(origin("scheduler.facility"), Place::Flag("--facility"));
    assert_eq!(origin("scheduler.manual_tags"), Place::Environment("OPENSCHEDULER_SCHEDULER__MANUAL_TAGS".to_owned()));
    assert_eq!(origin("scheduler.ignore_tags"), Place::File { line: Some(1) });
    assert_eq!(origin("rqd.grpc_port"), Place::File { line: Some(2) });
    assert_eq!(origin("queue.worker_threads"), Place::Default);
}

#[test]
fn every_key_can_be_set_by_both_forms_of_variable() {
    let sample = |key: &Key| {
        match key.path {
            "written_for" => "2.0.0".to_owned(),
            "database.db_pass" => "p".to_owned(),
            "database.db_pass_file" | "database.tls_root_certificate" => return None,
            "queue.empty_job_cycles_before_quiting" => "7".to_owned(),
            "queue.metrics_address" => "127.0.0.1".to_owned(),
            "queue.selfish_services" | "scheduler.facility" | "scheduler.manual_tags" | "scheduler.ignore_tags" => {
                "n".to_owned()
            }
            "scheduler.alloc_tags" => "s:t".to_owned(),
            "queue.layer_delay_rules" => "330:15".to_owned(),
            _ => key.value(&Config::default()),
        }
        .into()
    };
    for key in keys() {
        let Some(sample): Option<String> = sample(key) else { continue };
        for name in [format!("OPENSCHEDULER_{}", key.path), key.variable()] {
            let loaded = Given::nothing().variable(&name, &sample).load().unwrap();
            assert_eq!(loaded.origins.of(key), Place::Environment(name));
        }
    }
}

#[test]
fn a_bad_variable_is_told_by_its_name() {
    let cases = [
        ("OPENSCHEDULER_DB_PASS", "x", "OPENSCHEDULER_DB_PASS: db_pass: unknown key; did you mean database.db_pass?"),
        (
            "OPENSCHEDULER_database.pool",
            "1",
            "OPENSCHEDULER_database.pool: database.pool: unknown key; did you mean database.pool_size?",
        ),
        (
            "OPENSCHEDULER_QUEUE",
            "1",
            "OPENSCHEDULER_QUEUE: queue: a section; set its keys, such as queue.monitor_interval",
        ),
        ("OPENSCHEDULER_", "1", "OPENSCHEDULER_: unknown key"),
        (
            "OPENSCHEDULER_RQD__DRY_RUN_MODE",
            "1",
            "OPENSCHEDULER_RQD__DRY_RUN_MODE: rqd.dry_run_mode: expected true or false, found \"1\"",
        ),
        (
            "OPENSCHEDULER_SCHEDULER__FACILITY",
            "",
            "OPENSCHEDULER_SCHEDULER__FACILITY: scheduler.facility: expected text that is not empty, found empty text",
        ),
        (
            "OPENSCHEDULER_SCHEDULER__MANUAL_TAGS",
            "a,,b",
            "OPENSCHEDULER_SCHEDULER__MANUAL_TAGS: scheduler.manual_tags: expected a name, found empty text",
        ),
        (
            "OPENSCHEDULER_SCHEDULER__MANUAL_TAGS",
            "",
            "OPENSCHEDULER_SCHEDULER__MANUAL_TAGS: scheduler.manual_tags: expected a list of names, found empty text",
        ),
        (
            "OPENSCHEDULER_SCHEDULER__ALLOC_TAGS",
            "show",
            "OPENSCHEDULER_SCHEDULER__ALLOC_TAGS: scheduler.alloc_tags: expected show:tag, found \"show\"",
        ),
    ];
    for (name, value, complaint) in cases {
        let found = Given::nothing().variable(name, value).complaints();
        pretty_eq(&found, &format!("Failed to load config\n  {complaint}"), name);
    }
    let twice =
        Given::nothing().variable("OPENSCHEDULER_rqd.grpc_port", "1").variable("OPENSCHEDULER_RQD__GRPC_PORT", "1");
    assert_eq!(
        twice.complaints(),
        "Failed to load config\n  OPENSCHEDULER_rqd.grpc_port: rqd.grpc_port: set twice, before at OPENSCHEDULER_RQD__GRPC_PORT"
    );
    let loaded = Given::nothing().variable("OPENSCHEDULER_HOST_CACHE__CHECKOUT_TIMEOUT", "1s").load().unwrap();
    assert_eq!(loaded.warnings[0].place, Place::Environment("OPENSCHEDULER_HOST_CACHE__CHECKOUT_TIMEOUT".to_owned()));
}

#[test]
fn the_file_is_looked_for_in_order() {
    let given = Given::nothing();
    let write = |name: &str, port: u16| {
        let path = given.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("rqd: {{grpc_port: {port}}}")).unwrap();
        path
    };
    let in_use = |inputs: &Inputs| load(inputs).unwrap().file;
    let mut inputs = Inputs { system_file: Some(given.path("etc/scheduler.yaml")), ..Inputs::default() };
    inputs.environment.insert("HOME".into(), given.path("home").into());
    assert_eq!(in_use(&inputs), None);

    let of_system = write("etc/scheduler.yaml", 1);
    assert_eq!(in_use(&inputs), Some(of_system));
    let of_user = write("home/.config/cue-scheduler/scheduler.yaml", 2);
    assert_eq!(in_use(&inputs), Some(of_user));
    let of_variable = write("variable.yaml", 3);
    inputs.environment.insert("OPENCUE_SCHEDULER_CONFIG".into(), of_variable.clone().into());
    assert_eq!(in_use(&inputs), Some(of_variable));
    let of_flag = write("flag.yaml", 4);
    inputs.file = Some(of_flag.clone());
    assert_eq!(in_use(&inputs), Some(of_flag));
}

#[test]
fn a_named_file_must_be_there_and_a_found_one_readable() {
    let mut given = Given::nothing();
    given.inputs.file = Some(given.path("gone.yaml"));
    let error = given.load().unwrap_err();
    assert!(matches!(error, ConfigError::InvalidPath { .. }));
    assert_eq!(given.complaints(), "Failed to load config file gone.yaml, named by --config");

    let mut given = Given::nothing();
    given.inputs.environment.insert("OPENCUE_SCHEDULER_CONFIG".into(), given.path("gone.yaml").into());
    assert_eq!(given.complaints(), "Failed to load config file gone.yaml, named by OPENCUE_SCHEDULER_CONFIG");

    let mut given = Given::nothing();
    std::fs::create_dir(given.path("scheduler.yaml")).unwrap();
    given.inputs.system_file = Some(given.path("scheduler.yaml"));
    assert_eq!(given.complaints(), "Failed to load config file scheduler.yaml, found in its usual place");

    let huge = Given::file(vec![b'#'; 2 << 20]);
    assert_eq!(huge.complaints(), "Failed to load config file scheduler.yaml, named by --config");
}

#[test]
fn a_password_may_stand_in_its_own_file() {
    let given = Given::file("");
    std::fs::write(given.path("password"), "s3cret: #1\n").unwrap();
    let path = given.path("password").display().to_string();
    let given = given.variable("OPENSCHEDULER_DATABASE__DB_PASS_FILE", &path);
    let password = |given: &Given| given.load().unwrap().config.database.db_pass.map(|pass| pass.reveal().to_owned());
    assert_eq!(password(&given).as_deref(), Some("s3cret: #1"));

    std::fs::write(given.path("scheduler.yaml"), "database: {db_pass: weaker}").unwrap();
    assert_eq!(password(&given).as_deref(), Some("s3cret: #1"));

    let given = given.variable("OPENSCHEDULER_DATABASE__DB_PASS", "both");
    let complaints = given.complaints();
    assert!(
        complaints.ends_with("set together with database.db_pass (OPENSCHEDULER_DATABASE__DB_PASS); only one can hold"),
        "{complaints}"
    );

    let gone = Given::file("database: {db_pass_file: /nonexistent/password}").complaints();
    assert!(gone.contains("line 1: database.db_pass_file: cannot read /nonexistent/password: "), "{gone}");

    let device = Given::file("database: {db_pass_file: /dev/null}").complaints();
    assert!(device.contains("cannot read /dev/null: not a regular file"), "{device}");
}

#[test]
fn a_password_is_text_as_written_and_never_printed() {
    for written in ["0017", "'null'", "1e3", "yes", "\"a: b # c\""] {
        let loaded = Given::file(format!("database: {{db_pass: {written}}}")).load().unwrap();
        let password = loaded.config.database.db_pass.as_ref().unwrap();
        assert_eq!(password.reveal(), written.trim_matches(['\'', '"']));
        assert!(!format!("{loaded:?}").contains(password.reveal()), "{written}");
    }
    let secret = "hunter2";
    let wrong = [
        format!("database:\n  db_pass: [{secret}]"),
        format!("database:\n  db_pass: {{{secret}: {secret}}}"),
        format!("database:\n  db_pass: {secret}\n  db_pass: {secret}"),
        format!("database:\n  db_passs: {secret}"),
        format!("database:\n  db_pass: \"{secret}"),
        format!("database:\n  db_pass: {secret}: {secret}"),
        format!("database: {secret}"),
        format!("database: {{db_pass: {secret}, pool_size: 0}}"),
        secret.to_owned(),
    ];
    for text in wrong {
        let error = Given::file(&text).load().expect_err(&text);
        assert!(!format!("{error} {error:?}").contains(secret), "{text}: {error}");
    }
    let loaded = Given::nothing().variable("OPENSCHEDULER_DATABASE__DB_PASS", secret).load().unwrap();
    let key = keys().iter().find(|key| key.is_secret).unwrap();
    assert_eq!(key.value(&loaded.config), "***");
}

#[test]
fn a_tag_named_and_ignored_is_pointed_out() {
    let loaded = Given::file("scheduler: {manual_tags: [a, b], ignore_tags: [b]}").load().unwrap();
    assert_eq!(
        loaded.warnings[0].to_string(),
        "line 1: scheduler.manual_tags names \"b\", which scheduler.ignore_tags takes away again"
    );
}

/// The log has its own reader; what passes here must pass there.
#[test]
fn log_levels_are_read_alike_here_and_by_the_log() {
    let texts = [
        "info",
        "INFO",
        "info,sqlx=warn",
        " debug , sqlx = info",
        "scheduler=trace",
        "a::b=warn",
        "info,",
        "",
        ",",
        "3",
        "inof",
        "warn:sqlx=info",
        "info,=warn",
        "a b=warn",
        "info,sqlx=",
        "sqlx=warn=info",
        "hyper::=info",
        "a:b",
    ];
    for text in texts {
        let here = Given::nothing().variable("OPENSCHEDULER_LOGGING__LEVEL", text).load();
        assert_eq!(here.is_ok(), Levels::parse(text).is_ok(), "{text:?}");
    }
}
