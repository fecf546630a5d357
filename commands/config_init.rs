//! `config init`: a first file, by asking or from flags.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use cue_scheduler::config::{self, Config, ConfigError, FlagValue, Inputs, Secret, Tls, Version};
use cue_scheduler::db::{ClusterRows, Store};
use cue_scheduler::model::{AllocTag, Tag};
use cue_scheduler::ops::write_file;
use cue_scheduler::telemetry::error_chain;
use cue_scheduler::text::cleaned;
use dialoguer::console::Term;
use dialoguer::theme::{ColorfulTheme, SimpleTheme, Theme};
use dialoguer::{Confirm, Input, MultiSelect, Password, Select};
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use tokio::signal::unix::SignalKind;

use crate::failure::{CONNECTING, FAILED, INTERRUPTED, UsageError};
use crate::listing::NAME_MAX;
use crate::output::Printer;
use crate::selection;
use crate::settings::{InitSettings, connect_settings};
use crate::signals::hear;

pub(crate) async fn run(settings: InitSettings, printer: Printer) -> anyhow::Result<ExitCode> {
    if settings.args.yes { from_flags(settings, printer).await } else { ask(settings, printer).await }
}

async fn from_flags(settings: InitSettings, printer: Printer) -> anyhow::Result<ExitCode> {
    let InitSettings { target, config, args, .. } = &settings;
    if target.exists() && !args.force {
        bail!(UsageError::Exists(target.display().to_string()));
    }
    if !args.offline {
        let connected = Store::connect(&connect_settings(&config.database)).await;
        let store = connected.context(CONNECTING).context("nothing is written")?;
        let loaded = selection::load(&store, config).await.context("nothing is written")?;
        printer.note(format_args!("connected: {} clusters", loaded.clusters.len()));
        store.close().await;
    }
    write(&settings, args.force)?;
    printer.note(format_args!("wrote {}", target.display()));
    Ok(ExitCode::SUCCESS)
}

async fn ask(mut settings: InitSettings, printer: Printer) -> anyhow::Result<ExitCode> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        bail!(UsageError::NoTerminal);
    }
    restore_on_interrupt()?;
    let colorful = ColorfulTheme::default();
    let theme: &dyn Theme = if printer.is_stderr_colored { &colorful } else { &SimpleTheme };
    let given_up = || {
        printer.note("nothing is written");
        Ok(ExitCode::from(FAILED))
    };
    let target = settings.target.display().to_string();
    let overwrites = settings.target.exists();
    if overwrites && !settings.args.force && !is_confirmed(theme, format!("{target} exists. Write over it?"), false)? {
        return given_up();
    }
    let rows = loop {
        ask_database(theme, &mut settings)?;
        if settings.args.offline {
            break None;
        }
        match read_farm(&settings.config, printer).await {
            Ok(rows) => break Some(rows),
            Err(error) => printer.error(error_chain(error.as_ref())),
        }
        match choose(theme, "Go on how?", &["change the answers", "write them all the same", "write nothing"], 0)? {
            0 => {}
            1 => break None,
            _ => return Ok(ExitCode::from(FAILED)),
        }
    };
    if let Some(rows) = &rows {
        ask_selection(theme, &mut settings.config, rows)?;
    }
    settings.config.queue.metrics_port = Input::with_theme(theme)
        .with_prompt("Port of the metrics and health pages")
        .default(settings.config.queue.metrics_port)
        .interact_text()?;
    printer.note(format_args!("will serve: {}", served(&settings.config, rows.as_ref())));
    if !is_confirmed(theme, format!("Write {target}?"), true)? {
        return given_up();
    }
    write(&settings, overwrites)?;
    printer.note(format_args!("wrote {target}; next: cue-scheduler check-db"));
    Ok(ExitCode::SUCCESS)
}

fn is_confirmed(theme: &dyn Theme, question: String, default: bool) -> dialoguer::Result<bool> {
    Confirm::with_theme(theme).with_prompt(question).default(default).interact()
}

/// Position of the chosen one.
fn choose(theme: &dyn Theme, question: &str, items: &[&str], now: usize) -> dialoguer::Result<usize> {
    let shown: Vec<String> = items.iter().map(|item| cleaned(item, NAME_MAX)).collect();
    Select::with_theme(theme).with_prompt(question).items(&shown).default(now).interact()
}

/// Those that are chosen, in their order.
fn choose_some<'i, T: ?Sized>(
    theme: &dyn Theme,
    question: impl Into<String>,
    items: &[&'i T],
    name: impl Fn(&'i T) -> &'i str,
    is_chosen_now: impl Fn(&str) -> bool,
) -> dialoguer::Result<Vec<&'i T>> {
    let with_state = items.iter().map(|&item| name(item)).map(|name| (cleaned(name, NAME_MAX), is_chosen_now(name)));
    let chosen = MultiSelect::with_theme(theme).with_prompt(question).items_checked(with_state).interact()?;
    Ok(chosen.into_iter().filter_map(|at| items.get(at).copied()).collect())
}

fn ask_database(theme: &dyn Theme, settings: &mut InitSettings) -> anyhow::Result<()> {
    let database = &mut settings.config.database;
    let text = |prompt: &str, key: &'static str, now: &str| -> dialoguer::Result<String> {
        let answer: String = Input::with_theme(theme)
            .with_prompt(prompt)
            .default(now.to_owned())
            .validate_with(|answer: &String| is_right(key, answer))
            .interact_text()?;
        Ok(answer.trim().to_owned())
    };
    let host = "Host of Cuebot's PostgreSQL, or the folder of its socket";
    database.db_host = text(host, "database.db_host", &database.db_host)?;
    database.db_port = Input::with_theme(theme).with_prompt("Port").default(database.db_port).interact_text()?;
    database.db_name = text("Database", "database.db_name", &database.db_name)?;
    database.db_user = text("User", "database.db_user", &database.db_user)?;
    if database.db_pass_file.is_none() {
        let prompt = match (&database.db_pass, settings.is_password_of_environment) {
            (Some(_), true) => "Password (empty: as the environment says)",
            (Some(_), false) => "Password (empty: as before)",
            (None, _) => "Password (empty: none)",
        };
        let password = Password::with_theme(theme).with_prompt(prompt).allow_empty_password(true).interact()?;
        if !password.is_empty() {
            database.db_pass = Some(Secret::new(password));
            settings.is_password_of_environment = false;
        }
    }
    let ways = [
        (Tls::Disable, "never"),
        (Tls::Prefer, "when the server offers it"),
        (Tls::Require, "always, whoever answers"),
        (Tls::VerifyCa, "always, and its certificate is signed by a trusted authority"),
        (Tls::VerifyFull, "always, and its certificate names the host"),
    ];
    let now = ways.iter().position(|(way, _)| *way == database.tls).unwrap_or_default();
    let chosen = choose(theme, "Encrypted", &ways.map(|(_, what)| what), now)?;
    database.tls = ways.get(chosen).map_or(database.tls, |(way, _)| *way);
    Ok(())
}

/// As if it stood in the file.
fn is_right(key: &'static str, answer: &str) -> Result<(), String> {
    let flags = vec![FlagValue::one("answer", key, answer)];
    match config::load(&Inputs { flags, ..Inputs::default() }) {
        Err(ConfigError::LoadConfig(problems)) => {
            Err(problems.problems.into_iter().map(|problem| problem.what).collect::<Vec<_>>().join("; "))
        }
        _ => Ok(()),
    }
}

async fn read_farm(config: &Config, printer: Printer) -> anyhow::Result<ClusterRows> {
    let store = Store::connect(&connect_settings(&config.database)).await.context(CONNECTING)?;
    let rows = store.load_cluster_rows().await?;
    printer.note(format_args!(
        "connected: {}, {} shows, {} allocations",
        store.features().generation_guess(),
        rows.shows.len(),
        rows.allocs.iter().filter(|row| row.alloc.is_some()).count()
    ));
    store.close().await;
    Ok(rows)
}

/// Facility, shows and tags, out of those that there are. Choosing none of them names nothing, and where
/// nothing is named everything is served: that must be meant.
fn ask_selection(theme: &dyn Theme, config: &mut Config, rows: &ClusterRows) -> anyhow::Result<()> {
    loop {
        let chose_everything = ask_names(theme, config, rows)?;
        if chose_everything || !config.selection().is_everything() {
            return Ok(());
        }
        let question = format!("Nothing is chosen, so it will serve: {}. Is that meant?", served(config, Some(rows)));
        if is_confirmed(theme, question, false)? {
            return Ok(());
        }
    }
}

/// What these settings would have the service do, in a few words.
fn served(config: &Config, rows: Option<&ClusterRows>) -> String {
    let selection = config.selection();
    let names: Vec<String> = (selection.alloc_tags.iter().map(|wanted| format!("{}:{}", wanted.show, wanted.tag)))
        .chain(selection.manual_tags.iter().map(|tag| format!("tag {tag}")))
        .collect();
    let served = if selection.is_everything() { everything(rows).to_owned() } else { names.join(", ") };
    match selection.facility {
        Some(facility) => format!("{served} in facility {facility}"),
        None => served,
    }
}

/// What is served where nothing is named.
fn everything(rows: Option<&ClusterRows>) -> &'static str {
    let is_flagged = rows.is_some_and(|rows| rows.shows.iter().any(|show| show.is_scheduler_managed.is_some()));
    if is_flagged { "all shows that are flagged for a scheduler" } else { "everything" }
}

/// Whether everything was asked for, in so many words.
fn ask_names(theme: &dyn Theme, config: &mut Config, rows: &ClusterRows) -> anyhow::Result<bool> {
    ask_facility(theme, config, rows)?;
    let ways = [everything(Some(rows)), "chosen shows, allocations and tags"];
    let now = usize::from(!config.selection().is_everything());
    if choose(theme, "What is served", &ways, now)? == 0 {
        (config.scheduler.alloc_tags, config.scheduler.manual_tags) = (Vec::new(), Vec::new());
        return Ok(true);
    }
    let facility = config.scheduler.facility.as_deref();
    let of_facility = || rows.allocs.iter().filter(|row| facility.is_none_or(|facility| facility == row.facility_name));
    let shows: Vec<_> = rows.shows.iter().filter(|show| !show.allocs.is_empty()).collect();
    let wanted = &config.scheduler.alloc_tags;
    let is_wanted = |show: &str| wanted.iter().any(|wanted| wanted.show == show);
    let mut alloc_tags = Vec::new();
    for show in choose_some(theme, "Shows (space chooses)", &shows, |show| &show.name, is_wanted)? {
        let of_show = of_facility().filter(|row| row.alloc.as_ref().is_some_and(|(id, _)| show.allocs.contains(id)));
        let tags = distinct(of_show.flat_map(|row| &row.alloc_tags));
        let chosen = choose_some(theme, format!("Allocation tags of {}", show.name), &tags, |tag| tag, |_| true)?;
        alloc_tags.extend(chosen.into_iter().map(|tag| AllocTag { show: show.name.clone(), tag: tag.to_owned() }));
    }
    let tags = distinct(of_facility().flat_map(|row| &row.manual_tags));
    if !tags.is_empty() {
        let wanted = &config.scheduler.manual_tags;
        let chosen =
            choose_some(theme, "Manual tags", &tags, |tag| tag, |tag| wanted.iter().any(|wanted| wanted == tag))?;
        config.scheduler.manual_tags = chosen.into_iter().map(str::to_owned).collect();
    }
    config.scheduler.alloc_tags = alloc_tags;
    Ok(false)
}

/// Asks only where there are several.
fn ask_facility(theme: &dyn Theme, config: &mut Config, rows: &ClusterRows) -> dialoguer::Result<()> {
    let facilities: BTreeSet<&str> = rows.allocs.iter().map(|row| row.facility_name.as_str()).collect();
    if facilities.len() > 1 {
        let names: Vec<&str> = std::iter::once("all of them").chain(facilities).collect();
        let now = names.iter().position(|name| config.scheduler.facility.as_deref() == Some(*name)).unwrap_or_default();
        let chosen = choose(theme, "Facility", &names, now)?;
        config.scheduler.facility = names.get(chosen).filter(|_| chosen > 0).map(|name| (*name).to_owned());
    }
    Ok(())
}

/// Each once, by name.
fn distinct<'t>(tags: impl Iterator<Item = &'t Tag>) -> Vec<&'t str> {
    tags.map(Tag::as_str).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The whole file or nothing. Only its owner may read it when it holds the password.
fn write(settings: &InitSettings, overwrites: bool) -> anyhow::Result<()> {
    let (target, mut config) = (&settings.target, settings.config.clone());
    config.written_for = Some(Version::CURRENT);
    if settings.is_password_of_environment {
        // It goes on to bring it.
        config.database.db_pass = None;
    }
    let holds_password = config.database.db_pass.is_some() && config.database.db_pass_file.is_none();
    let mode = if holds_password { 0o600 } else { 0o644 };
    write_file(target, config::document(&config).as_bytes(), mode, overwrites)
        .with_context(|| format!("cannot write {}", target.display()))
}

/// A question may have hidden the cursor or what is typed; Ctrl-C must leave the terminal as it was.
fn restore_on_interrupt() -> anyhow::Result<()> {
    let before = tcgetattr(io::stdin()).context("cannot ask the terminal for its settings")?;
    let mut interrupt = hear(SignalKind::interrupt())?;
    tokio::spawn(async move {
        interrupt.recv().await;
        // Whoever interrupts has to get out, whatever the terminal says.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
        let _ = Term::stderr().show_cursor();
        let _ = writeln!(io::stderr());
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}
