//! The program as a user starts it: exit codes, what goes to which stream, and no secrets.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use assert_cmd::Command as Program;

/// A program with a home of its own and nothing else around it.
struct Surroundings(tempfile::TempDir);

impl Surroundings {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With the file in its usual place.
    fn with_file(text: &str) -> Self {
        let surroundings = Self::new();
        let folder = surroundings.0.path().join(".config/cue-scheduler");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("scheduler.yaml"), text).unwrap();
        surroundings
    }

    fn program(&self) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cue-scheduler"));
        command.env_clear().env("HOME", self.0.path());
        command
    }

    /// Exit code, standard output, standard error; the home is called `~`.
    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = self.program();
        command.args(args).envs(variables.iter().copied());
        let output = Program::from_std(command).timeout(Duration::from_mins(1)).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&*self.0.path().to_string_lossy(), "~");
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn wrong_settings_end_with_2_and_start_nothing() {
    let surroundings = Surroundings::with_file("queue:\n  monitor_intervall: 5s\ndatabase:\n  db_port: 70000\n");
    for args in [&[][..], &["run"]] {
        let (code, stdout, stderr) = surroundings.run(args, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert_eq!(
            stderr,
            "\
error: Failed to load config file ~/.config/cue-scheduler/scheduler.yaml
  line 2: queue.monitor_intervall: unknown key; did you mean queue.monitor_interval?
  line 4: database.db_port: expected a whole number from 1 to 65535, found \"70000\"
hint: config/scheduler.yaml documents every key
"
        );
    }
}

#[test]
fn a_named_file_that_is_not_there_ends_with_2() {
    let surroundings = Surroundings::new();
    let (code, _, stderr) = surroundings.run(&["--config", "/nonexistent/s.yaml"], &[]);
    assert_eq!(code, 2);
    assert_eq!(
        stderr,
        "error: Failed to load config file /nonexistent/s.yaml, named by --config: No such file or directory (os error 2)\n"
    );
    let (code, _, stderr) = surroundings.run(&[], &[("OPENCUE_SCHEDULER_CONFIG", "/nonexistent/s.yaml")]);
    assert_eq!(code, 2);
    assert_eq!(
        stderr,
        "error: Failed to load config file /nonexistent/s.yaml, named by OPENCUE_SCHEDULER_CONFIG: No such file or \
         directory (os error 2)\nhint: let OPENCUE_SCHEDULER_CONFIG name a file that can be read, or unset it\n"
    );
}

#[test]
fn wrong_usage_ends_with_2_and_names_the_nearest() {
    let cases: &[(&[&str], &str)] = &[
        (&["--facilty", "spi"], "a similar argument exists: '--facility'"),
        (&["rum"], "a similar subcommand exists: 'run'"),
        (&["--facility"], "a value is required for '--facility <NAME>'"),
        (&["-f", "a", "-f", "b"], "the argument '--facility <NAME>' cannot be used multiple times"),
        (&["--metrics_port", "70000"], "70000 is not in 0..=65535"),
        (&["--color", "sometimes"], "invalid value 'sometimes' for '--color <WHEN>'"),
        (&["-v", "-q"], "cannot be used with"),
        (&["demo", "--frames", "0"], "0 is not in 1..=4294967295"),
        (&["demo", "--hosts", "-1"], "unexpected argument '-1' found"),
        (&["demo", "--refuse", "101"], "not from 0 to 100"),
        (&["demo", "--lose-answers", "some"], "not a number"),
        (&["demo", "--generation", "g6"], "invalid value 'g6' for '--generation <NAME>'"),
        (&["demo", "--facility", "spi"], "error: --facility is not for the demo"),
        (&["demo", "--hosts", "0"], "error: a demo without hosts runs nothing"),
        (&["--manual_tags", "a,,b"], "--manual_tags: scheduler.manual_tags: expected a name, found empty text"),
    ];
    for (args, message) in cases {
        let (code, stdout, stderr) = Surroundings::new().run(args, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(message), "{args:?}: {stderr}");
    }
}

#[test]
fn help_and_version_need_no_settings_and_show_no_secret() {
    let surroundings = Surroundings::with_file("this: is [not yaml");
    for args in [&["--help"][..], &["-h"], &["run", "--help"], &["demo", "--help"], &["help", "demo"], &["--version"]] {
        let secret = [("OPENSCHEDULER_DATABASE__DB_PASS", "hunter2")];
        let (code, stdout, stderr) = surroundings.run(args, &secret);
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
        assert!(stdout.contains("cue-scheduler") && !stdout.contains("hunter2"), "{args:?}: {stdout}");
    }
}

#[test]
fn every_published_flag_is_in_the_help() {
    let (_, stdout, _) = Surroundings::new().run(&["--help"], &[]);
    for name in ["facility", "alloc_tags", "alloc-tags", "manual_tags", "manual-tags", "ignore_tags", "ignore-tags"] {
        assert!(stdout.contains(&format!("--{name}")), "{name}: {stdout}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut command = Surroundings::new().program();
    let mut child = command.arg("--help").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// Not only asked for, but never given when unasked: the output of a test is no terminal.
#[test]
fn colour_is_only_where_it_is_wanted() {
    let surroundings = Surroundings::new();
    let wrong = ["--config", "/nonexistent/s.yaml", "--color"];
    for (when, is_colored) in [("auto", false), ("never", false), ("always", true)] {
        let (_, _, stderr) = surroundings.run(&[&wrong[..], &[when]].concat(), &[]);
        assert_eq!(stderr.contains('\x1b'), is_colored, "{when}: {stderr}");
    }
}

#[test]
fn a_database_that_is_not_there_is_told_in_the_published_words() {
    let surroundings = Surroundings::with_file("database: {db_host: /nonexistent/socket, db_pass: hunter2}");
    let mut child = surroundings.program().args(["--metrics_port", "0"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        told.push_str(&line.unwrap());
        told.push('\n');
        if told.contains("Failed to connect to database") {
            break;
        }
    }
    // It may have ended by itself, or be waiting for the database.
    let _ = child.kill();
    child.wait().unwrap();
    assert!(told.contains("Failed to connect to database") && !told.contains("hunter2"), "{told}");
}

#[test]
fn config_check_says_what_run_would() {
    let wrong = Surroundings::with_file("queue:\n  monitor_intervall: 5s\n");
    assert_eq!(wrong.run(&["config", "check"], &[]), wrong.run(&["run"], &[]));
    let old = Surroundings::with_file("rqd: {grpc_port: 8444}\n").run(&["config", "check"], &[]);
    let changed = "warning: defaults have changed since the version for which these settings were written; ";
    assert!(old.0 == 0 && old.2.starts_with(changed) && old.2.contains("; the old way: "), "{}", old.2);
    let version = env!("CARGO_PKG_VERSION");
    let right = Surroundings::with_file(&format!("queue:\n  cluster_empty_sleep: 5s\nwritten_for: {version}\n"));
    let (code, stdout, stderr) = right.run(&["config", "check"], &[]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_eq!(
        stderr,
        "\
warning: line 2: queue.cluster_empty_sleep has no effect and can be removed: an idle farm is watched by a cheap probe, \
         see queue.active_scan_interval
~/.config/cue-scheduler/scheduler.yaml is right
the metrics and health pages on port 9090 are for who is on this machine only (queue.metrics_address)
"
    );
    for (address, who) in [
        ("::1", "who is on this machine only"),
        ("::ffff:127.0.0.1", "who is on this machine only"),
        ("0.0.0.0", "anybody who reaches this machine"),
        ("'::'", "anybody who reaches this machine"),
        ("192.0.2.7", "anybody who reaches 192.0.2.7"),
    ] {
        let file = format!("queue:\n  metrics_address: {address}\n  metrics_port: 9191\n");
        let (code, _, stderr) = Surroundings::with_file(&file).run(&["config", "check"], &[]);
        let told = format!("\nthe metrics and health pages on port 9191 are for {who} (queue.metrics_address)\n");
        assert!(code == 0 && stderr.ends_with(&told), "{address}: {stderr}");
    }
    let (code, _, stderr) = Surroundings::new().run(&["config", "check", "--facility", ""], &[]);
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn config_check_warns_of_a_password_for_everybody_and_of_a_dry_run() {
    let exposed = Surroundings::with_file("database: {db_pass: hunter2}\nrqd: {dry_run_mode: true}\n");
    let file = exposed.0.path().join(".config/cue-scheduler/scheduler.yaml");
    let told = |mode| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let (code, _, stderr) = exposed.run(&["config", "check"], &[]);
        assert_eq!(code, 0, "{stderr}");
        assert!(
            stderr.contains("warning: line 2: rqd.dry_run_mode is true: `run` books and launches nothing\n"),
            "{stderr}"
        );
        stderr.contains(
            "warning: ~/.config/cue-scheduler/scheduler.yaml holds the password, and everybody on this machine may \
             read it: chmod o-r ",
        )
    };
    assert_eq!([0o644, 0o640, 0o604, 0o600].map(told), [true, false, true, false]);

    let password = exposed.0.path().join("password");
    fs::write(&password, "hunter2").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    let in_file = Surroundings::with_file(&format!("database: {{db_pass_file: {}}}\n", password.display()));
    let (_, _, stderr) = in_file.run(&["config", "check"], &[]);
    assert!(stderr.contains("password holds the password, and everybody"), "{stderr}");
    // A password of the environment is in no file.
    let none = Surroundings::with_file("written_for: 2.1.0\nqueue: {metrics_port: 1}\n");
    let (_, _, stderr) = none.run(&["config", "check"], &[("OPENSCHEDULER_DATABASE__DB_PASS", "hunter2")]);
    assert!(!stderr.contains("warning"), "{stderr}");
}

#[test]
fn config_show_says_where_each_value_came_from_and_no_secret() {
    let surroundings =
        Surroundings::with_file("database: {db_pass: hunter2, db_host: dbhost}\nqueue:\n  metrics_port: 1\n");
    let args = ["config", "show", "--facility", "spi", "-a", "s:general", "t:b"];
    let variables = [("OPENSCHEDULER_DATABASE__DB_PORT", "5433")];
    let (code, stdout, stderr) = surroundings.run(&args, &variables);
    assert_eq!(code, 0, "{stderr}");
    let line = |key: &str| {
        let line = stdout.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {stdout}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("database.db_host"), "database.db_host dbhost line 1");
    assert_eq!(line("database.db_pass "), "database.db_pass *** line 1");
    assert_eq!(line("database.db_port"), "database.db_port 5433 environment");
    assert_eq!(
        line("queue.host_booking_strategy.memory_saturation"),
        "queue.host_booking_strategy.memory_saturation false default"
    );
    assert_eq!(line("scheduler.alloc_tags"), "scheduler.alloc_tags s:general,t:b --alloc_tags");
    assert_eq!(line("queue.metrics_port"), "queue.metrics_port 1 line 3");
    assert_eq!(line("queue.job_order"), "queue.job_order priority default");
    assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"));

    let (_, stdout, _) = surroundings.run(&[&args[..], &["-o", "json"]].concat(), &variables);
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["file"], "~/.config/cue-scheduler/scheduler.yaml");
    let settings = document["settings"].as_array().unwrap();
    assert_eq!(settings.len(), cue_scheduler::config::keys().len());
    let port = settings.iter().find(|row| row["key"] == "database.db_port").unwrap();
    assert_eq!(
        port,
        &serde_json::json!({
            "key": "database.db_port",
            "value": "5433",
            "origin": "OPENSCHEDULER_DATABASE__DB_PORT",
            "variable": "OPENSCHEDULER_DATABASE__DB_PORT",
        })
    );
    let (_, stdout, _) = surroundings.run(&["config", "show", "-o", "yaml"], &[]);
    assert!(
        stdout.starts_with("file: ~/.config/cue-scheduler/scheduler.yaml\nsettings:\n- key: written_for\n"),
        "{stdout}"
    );
}

#[test]
fn config_init_needs_answers_and_writes_over_nothing() {
    let surroundings = Surroundings::new();
    let (code, _, stderr) = surroundings.run(&["config", "init"], &[]);
    assert_eq!(code, 2);
    assert_eq!(stderr, "error: config init asks questions and there is no terminal; answer with flags and --yes\n");

    let args = [
        "config",
        "init",
        "--yes",
        "--offline",
        "--db-host",
        "dbhost",
        "--db-name",
        "my db",
        "--tls",
        "require",
        "-t",
        "urgent",
        "a b",
    ];
    let secret = [("OPENSCHEDULER_DATABASE__DB_PASS", "hunter2")];
    let (code, stdout, stderr) = surroundings.run(&args, &secret);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", "wrote ~/.config/cue-scheduler/scheduler.yaml\n"));
    let file = surroundings.0.path().join(".config/cue-scheduler/scheduler.yaml");
    let text = fs::read_to_string(&file).unwrap();
    for line in [
        "  db_host: dbhost",
        "  db_name: \"my db\"",
        "  tls: require",
        "  manual_tags: [\"urgent\", \"a b\"]",
        "  #db_port: 5432",
    ] {
        assert!(text.lines().any(|written| written == line), "{line}: {text}");
    }
    assert!(!text.contains("hunter2"));
    assert_eq!(surroundings.run(&["config", "check"], &secret).0, 0);

    let (code, _, stderr) = surroundings.run(&args, &secret);
    assert_eq!(code, 2);
    assert_eq!(stderr, "error: ~/.config/cue-scheduler/scheduler.yaml exists; --force writes over it\n");
    let (code, _, stderr) = surroundings.run(&[&args[..], &["--force", "--db-port", "1"]].concat(), &secret);
    assert_eq!(code, 0, "{stderr}");
    assert!(fs::read_to_string(&file).unwrap().contains("\n  db_port: 1\n"));
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

    let wrong = ["config", "init", "--yes", "--offline", "--force", "--tls", "sometimes"];
    let (code, _, stderr) = surroundings.run(&wrong, &[]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("--tls: database.tls: expected disable, prefer, require, verify-ca or verify-full"),
        "{stderr}"
    );
}

#[test]
fn config_init_tries_the_connection_before_it_writes() {
    let surroundings = Surroundings::new();
    let args = ["config", "init", "--yes", "--db-host", "/nonexistent/socket", "new/scheduler.yaml"];
    let mut command = surroundings.program();
    command.current_dir(surroundings.0.path()).args(args);
    let output = Program::from_std(command).timeout(Duration::from_mins(1)).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let told =
        "error: nothing is written: Failed to connect to database: the socket of port 5432 in /nonexistent/socket";
    assert!(stderr.starts_with(told), "{stderr}");
    assert_eq!(fs::read_dir(surroundings.0.path()).unwrap().count(), 0);
}
