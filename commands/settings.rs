//! From the command line and the surroundings to plain values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::bail;
use cue_scheduler::config::{self, Config, ConfigError, FlagValue, Inputs, Loaded, LogFormat};
use cue_scheduler::db::ConnectSettings;
use cue_scheduler::telemetry::logs::LogSettings;

use crate::cli::{DemoArgs, GlobalArgs, InitArgs, SelectionArgs};
use crate::failure::UsageError;
use crate::output::Printer;

/// What the operating system hands to the process.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// How the program was called.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) global: GlobalArgs,
    pub(crate) selection: SelectionArgs,
    pub(crate) environment: Environment,
    pub(crate) printer: Printer,
}

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
    pub(crate) args: DemoArgs,
}

/// What `config init` starts from.
#[derive(Debug)]
pub(crate) struct InitSettings {
    pub(crate) target: PathBuf,
    /// Flags over environment over defaults; no file.
    pub(crate) config: Config,
    /// The password is the environment's to know.
    pub(crate) is_password_of_environment: bool,
    pub(crate) args: InitArgs,
}

/// Flags over environment over file over defaults.
pub(crate) fn for_run(call: &Call) -> Result<RunSettings, ConfigError> {
    let loaded = config::load(&Inputs {
        file: call.global.config.clone(),
        environment: call.environment.clone(),
        flags: flags(call),
        system_file: Some(config::SYSTEM_FILE.into()),
    })?;
    let logs = log_settings(&loaded.config, call.printer);
    let connect = connect_settings(&loaded.config.database);
    Ok(RunSettings { loaded, logs, connect })
}

/// The demo reads no file but one that is named, so that it is the same on every machine.
pub(crate) fn for_demo(call: &Call, args: DemoArgs) -> anyhow::Result<DemoSettings> {
    if let Some(flag) = flags_of_selection(&call.selection).first() {
        bail!(UsageError::NotForDemo { flag: flag.flag() });
    }
    let (file, environment) = (call.global.config.clone(), variables_that_set_keys(call));
    let loaded = config::load(&Inputs { file, environment, flags: flags(call), system_file: None })?;
    call.printer.warnings(&loaded.warnings);
    if args.hosts == 0 && args.agents == 0 {
        bail!(UsageError::NoHosts);
    }
    Ok(DemoSettings { logs: log_settings(&loaded.config, call.printer), config: loaded.config, args })
}

/// A first file is made of flags and environment alone, whatever files there are.
pub(crate) fn for_init(call: &Call, args: InitArgs) -> anyhow::Result<InitSettings> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let given = [
        ("--db-host", "database.db_host", args.db_host.clone()),
        ("--db-port", "database.db_port", args.db_port.map(|port| port.to_string())),
        ("--db-name", "database.db_name", args.db_name.clone()),
        ("--db-user", "database.db_user", args.db_user.clone()),
        ("--db-pass-file", "database.db_pass_file", path(&args.db_pass_file)),
        ("--tls", "database.tls", args.tls.clone()),
        ("--tls-root-certificate", "database.tls_root_certificate", path(&args.tls_root_certificate)),
    ];
    let mut flags = flags(call);
    flags.extend(given.into_iter().filter_map(|(flag, key, value)| Some(FlagValue::one(flag, key, value?))));
    let environment = variables_that_set_keys(call);
    let config = config::load(&Inputs { file: None, environment, flags, system_file: None })?.config;
    let home = call.environment.get(&OsString::from("HOME")).filter(|home| !home.is_empty());
    let target = match (&args.file, home) {
        (Some(file), _) => file.clone(),
        (None, Some(home)) => PathBuf::from(home).join(".config/cue-scheduler/scheduler.yaml"),
        (None, None) => bail!(UsageError::NoHome),
    };
    let is_password_of_environment = config.database.db_pass.is_some() && config.database.db_pass_file.is_none();
    Ok(InitSettings { target, config, is_password_of_environment, args })
}

/// Without the one that names a file.
fn variables_that_set_keys(call: &Call) -> Environment {
    let sets_key = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with(config::VARIABLE_PREFIX));
    let set = call.environment.iter().filter(|(name, _)| sets_key(name));
    set.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn flags(call: &Call) -> Vec<FlagValue> {
    let mut flags = flags_of_selection(&call.selection);
    let port = call.global.metrics_port;
    flags.extend(port.map(|port| FlagValue::one("--metrics_port", "queue.metrics_port", port.to_string())));
    flags
}

fn flags_of_selection(args: &SelectionArgs) -> Vec<FlagValue> {
    let facility = args.facility.iter().map(|name| FlagValue::one("--facility", "scheduler.facility", name));
    let lists = [
        ("--alloc_tags", "scheduler.alloc_tags", &args.alloc_tags),
        ("--manual_tags", "scheduler.manual_tags", &args.manual_tags),
        ("--ignore_tags", "scheduler.ignore_tags", &args.ignore_tags),
    ];
    let lists = lists.into_iter().filter(|(.., values)| !values.is_empty());
    facility.chain(lists.map(|(flag, key, values)| FlagValue::many(flag, key, values))).collect()
}

fn log_settings(config: &Config, printer: Printer) -> LogSettings {
    let logging = &config.logging;
    LogSettings {
        level: logging.level.clone(),
        verbosity: printer.verbosity,
        file: logging.file_appender.then(|| logging.path.clone()),
        json: logging.format == LogFormat::Json,
        color: printer.is_stderr_colored,
    }
}

pub(crate) fn connect_settings(database: &config::Database) -> ConnectSettings {
    ConnectSettings {
        host: database.db_host.clone(),
        port: database.db_port,
        name: database.db_name.clone(),
        user: database.db_user.clone(),
        password: database.db_pass.as_ref().map(|password| password.reveal().to_owned()),
        password_file: database.db_pass_file.clone(),
        pool_size: database.pool_size,
        tls: database.tls,
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

    fn call(args: &[&str], environment: &Environment) -> (Call, Option<Command>) {
        let cli = Cli::try_parse_from([&["cue-scheduler"], args].concat()).expect("a command line");
        let Cli { global, selection, command } = cli;
        (Call { global, selection, environment: environment.clone(), printer: Printer::default() }, command)
    }

    fn run(args: &[&str]) -> Result<RunSettings, ConfigError> {
        for_run(&call(args, &Environment::new()).0)
    }

    fn demo(args: &[&str], environment: &Environment) -> anyhow::Result<DemoSettings> {
        let (call, command) = call(&[&["demo"], args].concat(), environment);
        let Some(Command::Demo(args)) = command else { panic!("not the demo") };
        for_demo(&call, args)
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
        assert_eq!((settings.config.queue.booking_chunk_size, settings.args.agents), (7, 4));
        assert!((settings.args.faults.refuse - 5.0).abs() < f64::EPSILON);
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
        let environment = Environment::from([("OPENSCHEDULER_database.db_pass".into(), "hunter2".into())]);
        let settings = for_run(&call(&[], &environment).0).expect("settings");
        assert_eq!(settings.connect.password.as_deref(), Some("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
