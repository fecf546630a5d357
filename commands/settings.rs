//! From the command line and the surroundings to plain values, one struct per command.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::bail;
use cue_scheduler::config::{self, BesideMaestro, Config, ConfigError, FlagValue, Inputs, Loaded, LogFormat, Tls};
use cue_scheduler::db::{ConnectSettings, TlsMode};
use cue_scheduler::rqd::AgentSettings;
use cue_scheduler::scheduler::Settings;
use cue_scheduler::telemetry::logs::LogSettings;

use crate::cli::{CheckDbArgs, DemoArgs, FaultArgs, Generation, GlobalArgs, InitArgs, SelectionArgs};
use crate::config_init::InitError;
use crate::output::Printer;

/// What the service runs with.
#[derive(Clone, Debug)]
pub(crate) struct RunSettings {
    pub(crate) loaded: Loaded,
    pub(crate) logs: LogSettings,
    pub(crate) connect: ConnectSettings,
}

/// What the demo runs with.
#[derive(Debug)]
pub(crate) struct DemoSettings {
    /// Only for how the scheduler works; its database and its selection are the demo's own.
    pub(crate) config: Config,
    pub(crate) logs: LogSettings,
    pub(crate) hosts: u32,
    pub(crate) jobs: u32,
    pub(crate) frames: u32,
    pub(crate) seed: Option<u64>,
    pub(crate) agents: u32,
    pub(crate) generation: Generation,
    pub(crate) keep: bool,
    pub(crate) summary: Option<PathBuf>,
    pub(crate) faults: FaultArgs,
}

/// What `check-db` looks at.
#[derive(Debug)]
pub(crate) struct CheckDbSettings {
    pub(crate) config: Config,
    pub(crate) connect: ConnectSettings,
    pub(crate) book_beside_foreign_planner: bool,
    pub(crate) instances: u32,
    /// Hosts whose agents are called.
    pub(crate) agents: Option<usize>,
    pub(crate) agent_settings: AgentSettings,
}

/// What `config init` starts from.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the command line, each of its own")]
pub(crate) struct InitSettings {
    pub(crate) target: PathBuf,
    /// Flags over environment over defaults; no file.
    pub(crate) config: Config,
    /// The password is the environment's to know.
    pub(crate) is_password_of_environment: bool,
    pub(crate) yes: bool,
    pub(crate) force: bool,
    pub(crate) offline: bool,
}

/// What the operating system hands to the process.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// Flags over environment over file over defaults.
pub(crate) fn for_run(
    global: &GlobalArgs,
    selection: &SelectionArgs,
    environment: &Environment,
    printer: Printer,
) -> Result<RunSettings, ConfigError> {
    let loaded = config::load(&Inputs {
        file: global.config.clone(),
        environment: environment.clone(),
        flags: flags(global, selection),
        system_file: Some(config::SYSTEM_FILE.into()),
    })?;
    let logs = log_settings(&loaded.config, printer);
    let connect = connect_settings(&loaded.config.database);
    Ok(RunSettings { loaded, logs, connect })
}

/// As the service would be started.
pub(crate) fn for_check_db(
    global: &GlobalArgs,
    selection: &SelectionArgs,
    args: &CheckDbArgs,
    environment: &Environment,
    printer: Printer,
) -> Result<CheckDbSettings, ConfigError> {
    let RunSettings { loaded, connect, .. } = for_run(global, selection, environment, printer)?;
    for warning in &loaded.warnings {
        printer.warning(warning);
    }
    Ok(CheckDbSettings {
        book_beside_foreign_planner: loaded.config.scheduler.beside_maestro == BesideMaestro::Book,
        instances: args.instances,
        agents: args.rqd.map(|hosts| hosts as usize),
        agent_settings: Settings::agents_of(&loaded.config),
        config: loaded.config,
        connect,
    })
}

/// The demo reads no file but one that is named, so that it is the same on every machine.
pub(crate) fn for_demo(
    global: &GlobalArgs,
    selection: &SelectionArgs,
    args: DemoArgs,
    environment: &Environment,
    printer: Printer,
) -> anyhow::Result<DemoSettings> {
    if let Some(flag) = flags_of_selection(selection).first() {
        bail!(UsageError::NotForDemo { flag: flag.flag() });
    }
    let is_setting = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with(config::VARIABLE_PREFIX));
    let loaded = config::load(&Inputs {
        file: global.config.clone(),
        environment: environment
            .iter()
            .filter(|(name, _)| is_setting(name))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect(),
        flags: flags(global, selection),
        system_file: None,
    })?;
    for warning in &loaded.warnings {
        printer.warning(warning);
    }
    let DemoArgs { hosts, jobs, frames, seed, agents, generation, keep, summary, faults } = args;
    if hosts == 0 && agents == 0 {
        bail!(UsageError::NoHosts);
    }
    let logs = log_settings(&loaded.config, printer);
    Ok(DemoSettings {
        config: loaded.config,
        logs,
        hosts,
        jobs,
        frames,
        seed,
        agents,
        generation,
        keep,
        summary,
        faults,
    })
}

/// A first file is made of flags and environment alone, whatever files there are.
pub(crate) fn for_init(
    global: &GlobalArgs,
    selection: &SelectionArgs,
    args: InitArgs,
    environment: &Environment,
) -> anyhow::Result<InitSettings> {
    let InitArgs { file, yes, force, offline, db_host, db_port, db_name, db_user, db_pass_file, tls, .. } = args;
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let given = [
        ("--db-host", "database.db_host", db_host),
        ("--db-port", "database.db_port", db_port.map(|port| port.to_string())),
        ("--db-name", "database.db_name", db_name),
        ("--db-user", "database.db_user", db_user),
        ("--db-pass-file", "database.db_pass_file", db_pass_file.map(path)),
        ("--tls", "database.tls", tls),
        ("--tls-root-certificate", "database.tls_root_certificate", args.tls_root_certificate.map(path)),
    ];
    let mut flags = flags(global, selection);
    flags.extend(given.into_iter().filter_map(|(flag, key, value)| Some(FlagValue::one(flag, key, value?))));
    let is_setting = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with(config::VARIABLE_PREFIX));
    let settings: Environment =
        environment.iter().filter(|(name, _)| is_setting(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let loaded = config::load(&Inputs { file: None, environment: settings, flags, system_file: None })?;
    let target = match (file, environment.get(&OsString::from("HOME")).filter(|home| !home.is_empty())) {
        (Some(file), _) => file,
        (None, Some(home)) => PathBuf::from(home).join(".config/cue-scheduler/scheduler.yaml"),
        (None, None) => bail!(InitError::NoHome),
    };
    let is_password_of_environment =
        loaded.config.database.db_pass.is_some() && loaded.config.database.db_pass_file.is_none();
    Ok(InitSettings { target, config: loaded.config, is_password_of_environment, yes, force, offline })
}

/// Flags that are well-formed and make no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("{flag} is not for the demo, which brings its own farm and takes all of it")]
    NotForDemo { flag: &'static str },
    #[error("a demo without hosts runs nothing; --hosts and --agents are both 0")]
    NoHosts,
    #[error("--update asks before it changes a file, and there is no terminal to ask on; --yes says it may")]
    NobodyToAsk,
    #[error("--check needs the properties file of a Cuebot: no show of this database has a scheduler flag")]
    NoFileToCheck,
}

fn flags(global: &GlobalArgs, selection: &SelectionArgs) -> Vec<FlagValue> {
    let mut flags = flags_of_selection(selection);
    if let Some(port) = global.metrics_port {
        flags.push(FlagValue::one("--metrics_port", "queue.metrics_port", port.to_string()));
    }
    flags
}

fn flags_of_selection(args: &SelectionArgs) -> Vec<FlagValue> {
    let mut flags = Vec::new();
    if let Some(facility) = &args.facility {
        flags.push(FlagValue::one("--facility", "scheduler.facility", facility));
    }
    let lists = [
        ("--alloc_tags", "scheduler.alloc_tags", &args.alloc_tags),
        ("--manual_tags", "scheduler.manual_tags", &args.manual_tags),
        ("--ignore_tags", "scheduler.ignore_tags", &args.ignore_tags),
    ];
    for (flag, key, values) in lists {
        if !values.is_empty() {
            flags.push(FlagValue::many(flag, key, values));
        }
    }
    flags
}

fn log_settings(config: &Config, printer: Printer) -> LogSettings {
    let logging = &config.logging;
    LogSettings {
        level: logging.level.clone(),
        verbosity: printer.verbosity(),
        file: logging.file_appender.then(|| logging.path.clone()),
        json: logging.format == LogFormat::Json,
        color: printer.is_stderr_colored(),
        to_stderr: true,
    }
}

pub(crate) fn connect_settings(database: &config::Database) -> ConnectSettings {
    ConnectSettings {
        host: database.db_host.clone(),
        port: database.db_port,
        name: database.db_name.clone(),
        user: database.db_user.clone(),
        password: database.db_pass.as_ref().map(|password| password.reveal().to_owned()),
        pool_size: database.pool_size,
        tls: match database.tls {
            Tls::Disable => TlsMode::Disable,
            Tls::Prefer => TlsMode::Prefer,
            Tls::Require => TlsMode::Require,
            Tls::VerifyCa => TlsMode::VerifyCa,
            Tls::VerifyFull => TlsMode::VerifyFull,
        },
        tls_root_certificate: database.tls_root_certificate.clone(),
        allow_cleartext_password: database.allow_cleartext_password,
        ..ConnectSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};
    use cue_scheduler::config::{Place, keys};
    use cue_scheduler::model::AllocTag;

    use super::*;
    use crate::cli::{Cli, Command};

    fn run(args: &[&str]) -> Result<RunSettings, ConfigError> {
        let cli = Cli::try_parse_from([&["cue-scheduler"], args].concat()).expect("a command line");
        for_run(&cli.global, &cli.selection, &Environment::new(), Printer::default())
    }

    fn demo(args: &[&str], environment: &Environment) -> anyhow::Result<DemoSettings> {
        let cli = Cli::try_parse_from([&["cue-scheduler", "demo"], args].concat()).expect("a command line");
        let Some(Command::Demo(args)) = cli.command else { panic!("not the demo") };
        for_demo(&cli.global, &cli.selection, args, environment, Printer::default())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_run() {
        assert!(Cli::try_parse_from(["cue-scheduler"]).expect("a command line").command.is_none());
    }

    #[test]
    fn every_published_way_of_naming_tags_is_understood() {
        let ways: [&[&str]; 8] = [
            &[
                "--facility",
                "spi",
                "--alloc_tags=s1:general,s2:priority",
                "--manual_tags=urgent,desktop",
                "--ignore_tags=old",
            ],
            &[
                "--facility=spi",
                "--alloc-tags",
                "s1:general,s2:priority",
                "--manual-tags",
                "urgent,desktop",
                "--ignore-tags",
                "old",
            ],
            &["-f", "spi", "-a", "s1:general", "-a", "s2:priority", "-t", "urgent", "-t", "desktop", "-i", "old"],
            &["-f", "spi", "-a", "s1:general", "s2:priority", "-t", "urgent", "desktop", "-i", "old"],
            &["-fspi", "-as1:general,s2:priority", "-turgent,desktop", "-iold", "run"],
            &["run", "-f", "spi", "-a", "s1:general", "s2:priority", "-t", "urgent", "desktop", "-i", "old"],
            &["-f", "spi", "-i", "old", "-a", "s1:general", "s2:priority", "-t", "urgent", "desktop", "run"],
            &[
                "-f",
                " spi ",
                "--alloc_tags",
                " s1 : general , s2:priority",
                "--manual_tags",
                "urgent, desktop",
                "-i",
                "old",
            ],
        ];
        let tag = |show: &str, tag: &str| AllocTag { show: show.to_owned(), tag: tag.to_owned() };
        for way in ways {
            let selection = run(way).expect("settings").loaded.config.selection();
            assert_eq!(selection.facility.as_deref(), Some("spi"), "{way:?}");
            assert_eq!(selection.alloc_tags, [tag("s1", "general"), tag("s2", "priority")], "{way:?}");
            assert_eq!(selection.manual_tags, ["urgent", "desktop"], "{way:?}");
            assert_eq!(selection.ignore_tags, ["old"], "{way:?}");
        }
    }

    #[test]
    fn flags_set_their_keys_and_leave_their_name() {
        for flag in ["--metrics_port", "--metrics-port"] {
            let settings = run(&[flag, "0", "-vv"]).expect("settings");
            assert_eq!(settings.loaded.config.queue.metrics_port, 0);
            let key = keys().iter().find(|key| key.path == "queue.metrics_port").expect("the key");
            assert_eq!(settings.loaded.origins.of(key), Place::Flag("--metrics_port"));
        }
    }

    #[test]
    fn wrong_flags_are_told_by_name() {
        let cases: [(&[&str], &str); 8] = [
            (&["--alloc_tags", "general"], "--alloc_tags: scheduler.alloc_tags: expected show:tag, found \"general\""),
            (&["--alloc-tags", "a:b:c"], "--alloc_tags: scheduler.alloc_tags: expected show:tag, found \"a:b:c\""),
            (&["--alloc_tags", ":b"], "--alloc_tags: scheduler.alloc_tags: expected show:tag, found \":b\""),
            (&["--alloc_tags", "a:b,"], "--alloc_tags: scheduler.alloc_tags: expected show:tag, found empty text"),
            (&["--manual_tags="], "--manual_tags: scheduler.manual_tags: expected a name, found empty text"),
            (&["--manual_tags=a,,b"], "--manual_tags: scheduler.manual_tags: expected a name, found empty text"),
            (&["-i", " "], "--ignore_tags: scheduler.ignore_tags: expected a name, found \" \""),
            (&["--facility", ""], "--facility: scheduler.facility: expected text that is not empty, found empty text"),
        ];
        for (args, complaint) in cases {
            let message = run(args).expect_err("a wrong flag").to_string();
            assert_eq!(message, format!("Failed to load config\n  {complaint}"), "{args:?}");
        }
    }

    #[test]
    fn the_demo_takes_tuning_and_no_selection() {
        let environment = Environment::from([
            ("OPENCUE_SCHEDULER_CONFIG".into(), "/nonexistent".into()),
            ("OPENSCHEDULER_QUEUE__BOOKING_CHUNK_SIZE".into(), "7".into()),
        ]);
        let settings = demo(&["--hosts", "0", "--agents", "4", "--refuse", "5%"], &environment).expect("settings");
        assert_eq!((settings.config.queue.booking_chunk_size, settings.agents), (7, 4));
        assert!((settings.faults.refuse - 5.0).abs() < f64::EPSILON);
        let error = demo(&["--manual-tags", "a"], &environment).expect_err("a selection");
        assert_eq!(
            error.to_string(),
            "--manual_tags is not for the demo, which brings its own farm and takes all of it"
        );
        let error = demo(&["--hosts", "0"], &environment).expect_err("no hosts");
        assert_eq!(error.to_string(), "a demo without hosts runs nothing; --hosts and --agents are both 0");
    }

    #[test]
    fn the_password_reaches_the_connection_and_no_debug_output() {
        let cli = Cli::try_parse_from(["cue-scheduler"]).expect("a command line");
        let environment = Environment::from([("OPENSCHEDULER_database.db_pass".into(), "hunter2".into())]);
        let settings = for_run(&cli.global, &cli.selection, &environment, Printer::default()).expect("settings");
        assert_eq!(settings.connect.password.as_deref(), Some("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
