//! The program as a user starts it, on a test's database.

use std::process::{Command, Output};
use std::time::Duration;

use cue_scheduler::db::ConnectSettings;

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().expect("no signal ended it"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// The program with this database and nothing else in its environment.
pub(crate) fn program(database: &ConnectSettings) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("cue-scheduler"));
    command.env_clear().env("HOME", "/nonexistent").envs(database_variables(database));
    command
}

pub(crate) fn database_variables(database: &ConnectSettings) -> Vec<(&'static str, String)> {
    vec![
        ("OPENSCHEDULER_DATABASE__DB_HOST", database.host.clone()),
        ("OPENSCHEDULER_DATABASE__DB_PORT", database.port.to_string()),
        ("OPENSCHEDULER_DATABASE__DB_NAME", database.name.clone()),
        ("OPENSCHEDULER_DATABASE__DB_USER", database.user.clone()),
        ("OPENSCHEDULER_DATABASE__DB_PASS", database.password.clone().unwrap_or_default()),
    ]
}

/// Runs it to its end.
pub(crate) fn run_program(database: &ConnectSettings, args: &[&str]) -> Ran {
    let mut command = program(database);
    command.args(args);
    assert_cmd::Command::from_std(command).timeout(Duration::from_mins(1)).output().unwrap().into()
}
