//! Completion in the shell: commands and flags out of the one definition, names out of the database.
//!
//! A shell that completes calls this program with the variable `COMPLETE`. Names are looked up as the
//! command itself would connect. Whatever goes wrong with that, the shell gets no names and
//! no message.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;
use cue_scheduler::clusters;
use cue_scheduler::config::{self, Config, Inputs};
use cue_scheduler::db::{Named, Store, names};
use cue_scheduler::text::is_hidden;

use crate::cli::{Cli, SHELLS};
use crate::settings::connect_settings;

/// A shell that waits longer feels broken.
const LIMIT: Duration = Duration::from_millis(700);

/// Answers a shell that asks, and ends then. Must come before anything is printed.
pub(crate) fn answer_if_asked() {
    CompleteEnv::with_factory(|| with_names(Cli::command())).shells(SHELLS).complete();
}

/// What a value names, and where its names are found.
#[derive(Clone, Copy)]
enum Kind {
    Row(Named),
    Cluster,
}

fn with_names(command: Command) -> Command {
    let of = command.get_name().to_owned();
    let add = |arg: Arg| match kind(&of, arg.get_id().as_str()) {
        Some(kind) => arg.add(ArgValueCompleter::new(move |typed: &OsStr| candidates(kind, typed))),
        None => arg,
    };
    command.mut_args(add).mut_subcommands(with_names)
}

/// By the argument's name; where that is only "name", by the command's.
fn kind(command: &str, argument: &str) -> Option<Kind> {
    Some(match (argument, command) {
        ("cluster", _) | ("name", "show") => Kind::Cluster,
        ("facility", _) => Kind::Row(Named::Facility),
        ("show", _) => Kind::Row(Named::Show),
        ("job", _) | ("name", "job" | "layer" | "frame") => Kind::Row(Named::Job),
        ("host", _) | ("name", "host") => Kind::Row(Named::Host),
        ("alloc_tags", _) => Kind::Row(Named::AllocTag),
        ("manual_tags" | "ignore_tags", _) => Kind::Row(Named::Tag),
        _ => return None,
    })
}

fn candidates(kind: Kind, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let names = look_up(kind, typed).unwrap_or_default().into_iter();
    // What cannot be typed is no use, and the shell would print it as it is.
    names.filter(|name| !name.contains(is_hidden)).map(CompletionCandidate::new).collect()
}

fn look_up(kind: Kind, typed: &str) -> Option<Vec<String>> {
    let inputs = Inputs {
        file: config_flag(std::env::args_os()),
        environment: std::env::vars_os().collect(),
        flags: Vec::new(),
        system_file: Some(config::SYSTEM_FILE.into()),
    };
    let config = config::load(&inputs).ok()?.config;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let found = runtime.block_on(async { tokio::time::timeout(LIMIT, names_of(kind, &config, typed)).await });
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    found.ok()?
}

async fn names_of(kind: Kind, config: &Config, typed: &str) -> Option<Vec<String>> {
    let connect = connect_settings(&config.database);
    match kind {
        Kind::Row(named) => names(&connect, named, typed).await.ok(),
        Kind::Cluster => {
            let store = Store::connect(&connect).await.ok()?;
            let loaded = clusters::load(&store, &config.selection(), config.chunk_sizes()).await.ok()?;
            let names: BTreeSet<String> = loaded.clusters.into_iter().map(|cluster| cluster.name).collect();
            Some(names.into_iter().filter(|name| name.starts_with(typed)).collect())
        }
    }
}

/// The file that the line under completion names.
fn config_flag(words: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let mut words = words.skip_while(|word| word != "--");
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(file) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            return Some(file.into());
        }
    }
    None
}
