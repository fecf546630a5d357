//! `completions/` and `man/`: generated from the definition of the command line, and fresh.

#[path = "../commands/cli/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the program uses what is not used here")]
mod cli;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Instant;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, seed};

use crate::config_init::Terminal;
use crate::support::{PATIENCE, database, database_variables};

const NAME: &str = "cue-scheduler";
/// Where each shell looks for the completion of a command.
const SHELLS: &[(&str, &str)] = &[
    ("bash", "cue-scheduler.bash"),
    ("zsh", "_cue-scheduler"),
    ("fish", "cue-scheduler.fish"),
    ("powershell", "cue-scheduler.ps1"),
    ("elvish", "cue-scheduler.elv"),
];
/// A file that zsh finds in its path is run as the function that completes, the first time too.
const ZSH_FIRST_TIME: &str =
    "\n[[ \"$funcstack[1]\" == _cue-scheduler ]] && _clap_dynamic_completer_cue_scheduler \"$@\"\n";

const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The definition, with global flags everywhere.
fn definition() -> Command {
    let mut command = cli::Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

/// The command and all below it, each with its full name.
fn commands(command: &Command) -> Vec<(String, Command)> {
    let mut found = Vec::new();
    let mut left = vec![(NAME.to_owned(), command.clone())];
    while let Some((name, command)) = left.pop() {
        left.extend(command.get_subcommands().map(|below| (format!("{name} {}", below.get_name()), below.clone())));
        found.push((name, command));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Every generated file.
fn generated() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for (shell, file) in SHELLS {
        let mut script = Vec::new();
        let completer = cli::SHELLS.completer(shell).unwrap();
        completer.write_registration("COMPLETE", NAME, NAME, NAME, &mut script).unwrap();
        let mut script = String::from_utf8(script).unwrap().trim().to_owned() + "\n";
        if *shell == "zsh" {
            script.push_str(ZSH_FIRST_TIME);
        }
        files.insert(Path::new("completions").join(file), script);
    }
    for (name, command) in commands(&definition()) {
        let file = format!("{}.1", name.replace(' ', "-"));
        files.insert(Path::new("man").join(file), page(&name, command));
    }
    files
}

/// A manual page. What follows the options in the help has sections of its own here.
fn page(name: &str, command: Command) -> String {
    let sections = sections(&command);
    let has_commands = command.has_subcommands();
    let dashed = name.replace(' ', "-");
    let command = command.name(dashed.clone()).bin_name(name).display_name(dashed);
    let man =
        Man::new(command).date("").source(concat!("cue-scheduler ", env!("CARGO_PKG_VERSION"))).manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    man.render_synopsis_section(&mut text).unwrap();
    man.render_description_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    if has_commands {
        man.render_subcommands_section(&mut text).unwrap();
    }
    // Each part opens with the same definition, and an empty date is left out.
    let text = String::from_utf8(text).unwrap().replace(PREAMBLE, "").replacen(" 1  \"", " 1 \"\" \"", 1);
    let mut text = format!("{PREAMBLE}{text}");
    for (title, lines) in sections {
        text.extend([".SH ", &title.to_uppercase(), "\n.nf\n"]);
        for line in lines {
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            text.push_str(if line.starts_with(['.', '\'']) { "\\&" } else { "" });
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str(".fi\n");
    }
    if name != NAME {
        text.push_str(".SH \"SEE ALSO\"\n.BR cue\\-scheduler (1)\n");
    }
    text
}

/// "Examples:" and the like, with the lines below each.
fn sections(command: &Command) -> Vec<(String, Vec<String>)> {
    let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for line in help.lines() {
        if let Some(title) = line.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
            sections.push((title.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = sections.last_mut() {
            lines.push(line.strip_prefix("  ").unwrap_or(line).to_owned());
        }
    }
    for (_, lines) in &mut sections {
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
    }
    sections
}

#[test]
fn the_files_are_fresh() {
    let generated = generated();
    let is_updating = std::env::var_os("UPDATE_GENERATED").is_some();
    let mut stale = Vec::new();
    for folder in ["completions", "man"] {
        fs::create_dir_all(root().join(folder)).unwrap();
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = Path::new(folder).join(entry.unwrap().file_name());
            if !generated.contains_key(&path) {
                stale.push(path.display().to_string());
                if is_updating {
                    fs::remove_file(root().join(&path)).unwrap();
                }
            }
        }
    }
    for (path, text) in &generated {
        if fs::read_to_string(root().join(path)).ok().as_ref() != Some(text) {
            stale.push(path.display().to_string());
            if is_updating {
                fs::write(root().join(path), text).unwrap();
            }
        }
    }
    assert!(is_updating || stale.is_empty(), "stale; write them anew with `make generate`:\n  {}", stale.join("\n  "));
}

#[test]
fn every_command_has_examples_that_are_right() {
    for (name, command) in commands(&definition()) {
        let examples: Vec<String> = sections(&command)
            .into_iter()
            .filter(|(title, _)| title == "Examples")
            .flat_map(|(_, lines)| lines)
            .filter_map(|line| line.strip_prefix(NAME).map(str::to_owned))
            .collect();
        assert!(!examples.is_empty(), "{name} shows no example");
        for example in examples {
            let line = example.split(['|', '>', '&']).next().unwrap();
            let words = line.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
            let parsed = cli::Cli::command().try_get_matches_from([NAME].into_iter().chain(words));
            assert!(parsed.is_ok(), "{name}: {example}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn pages_are_what_readers_of_manuals_take() {
    let Ok(checked) =
        Process::new("man").args(["--warnings", "-l", "man/cue-scheduler.1"]).current_dir(root()).output()
    else {
        return;
    };
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.stderr.is_empty(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(text.contains("EXAMPLES") && text.contains("EXIT STATUS"), "{text}");
}

/// What bash offers when the last of these words is completed.
fn completed(words: &[&str], variables: &[(&str, String)]) -> Vec<String> {
    let script = "source completions/cue-scheduler.bash
        COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9; COMP_LINE=\"$*\"; COMP_POINT=${#COMP_LINE}
        _complete_cue_scheduler cue-scheduler \"${COMP_WORDS[COMP_CWORD]}\" ''
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let program = assert_cmd::cargo::cargo_bin!("cue-scheduler");
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut bash = Process::new("bash");
    bash.args(["--noprofile", "--norc", "-c", script, "bash", NAME]).args(words).current_dir(root()).env_clear();
    let output = bash.env("PATH", path).envs(variables.iter().map(|(name, value)| (name, value))).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_flags() {
    let offered = completed(&[""], &[]);
    for command in cli::Cli::command().get_subcommands() {
        assert!(offered.contains(&command.get_name().to_owned()), "{}: {offered:?}", command.get_name());
    }
    assert_eq!(completed(&["config", ""], &[])[..3], ["check", "show", "init"]);
    assert_eq!(completed(&["check-db", "--rq"], &[]), ["--rqd"]);
    assert_eq!(completed(&["-o", "j"], &[]), ["json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_completed_from_the_database() {
    let database = database(Generation::G5).await;
    let spec = FarmSpec::simple(1).hosts(2);
    seed(&database.pool(), &spec).await.unwrap();
    let settings = database.connect_settings().await;
    let variables = database_variables(&settings);
    assert_eq!(completed(&["plan", "--show", "s"], &variables), ["show"]);
    assert_eq!(completed(&["plan", "--host", "127.1"], &variables), ["127.1.0.1", "127.1.0.2"]);
    assert_eq!(completed(&["plan", "--job", "show-"], &variables), ["show-sh010-artist_shade"]);
    assert_eq!(completed(&["explain", "job", "show-"], &variables), ["show-sh010-artist_shade"]);
    assert_eq!(completed(&["explain", "host", "127."], &variables), ["127.1.0.1", "127.1.0.2"]);
    assert_eq!(completed(&["plan", "--cluster", "local/show/g"], &variables), ["local/show/general"]);
    assert_eq!(completed(&["--facility", ""], &variables), ["local"]);
    assert_eq!(completed(&["run", "--ignore_tags", "gen"], &variables), ["general"]);
    assert_eq!(completed(&["plan", "--show", "nothing"], &variables), [""; 0]);
}

/// What stands on the line when these keys are typed at a bash and tab is pressed.
fn typed(keys: &str, variables: &[(&str, String)]) -> String {
    let program = assert_cmd::cargo::cargo_bin!("cue-scheduler");
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut bash = Process::new("bash");
    bash.args(["--noprofile", "--norc", "-i"]).current_dir(root()).env_clear();
    bash.env("PATH", path).env("TERM", "dumb").env("PS1", "ready> ").env("HOME", "/nonexistent");
    bash.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut terminal = Terminal::start(bash);
    terminal.answer("ready> ", "source completions/cue-scheduler.bash\r");
    // The line becomes what is printed, and is not run.
    terminal.answer("ready> ", &format!("{keys}\t\x01echo 'typed: '\r"));
    terminal.answer("\ntyped: ", "");
    let line = terminal.answer("\n", "exit\r");
    line.trim_end_matches(['\r', '\n']).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_completes_behind_colons_and_equals_signs() {
    let database = database(Generation::G5).await;
    seed(&database.pool(), &FarmSpec::simple(1).hosts(2)).await.unwrap();
    let variables = database_variables(&database.connect_settings().await);
    let cases = [
        ("cue-scheduler --alloc_tags show:ge", "cue-scheduler --alloc_tags show:general"),
        ("cue-scheduler --alloc_tags=show:ge", "cue-scheduler --alloc_tags=show:general"),
        ("cue-scheduler --alloc_tags show:", "cue-scheduler --alloc_tags show:general"),
        ("cue-scheduler --alloc_tags sho", "cue-scheduler --alloc_tags show:general"),
        ("cue-scheduler plan --show=sh", "cue-scheduler plan --show=show"),
        ("cue-scheduler plan --show sh", "cue-scheduler plan --show show"),
        ("cue-scheduler plan --alloc_tags a:b --show sh", "cue-scheduler plan --alloc_tags a:b --show show"),
        ("cue-scheduler check-db --rq", "cue-scheduler check-db --rqd"),
    ];
    for (keys, expected) in cases {
        let began = Instant::now();
        // A look at the database that takes too long offers nothing.
        while typed(keys, &variables) != expected {
            assert!(began.elapsed() < PATIENCE, "{keys}: {}", typed(keys, &variables));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_or_silent_costs_little_time_and_says_nothing() {
    // Takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    for (host, port) in [("127.0.0.1", port), ("/nonexistent/socket", 5432)] {
        let settings = ConnectSettings { host: host.to_owned(), port, ..ConnectSettings::default() };
        let began = Instant::now();
        assert_eq!(completed(&["plan", "--show", "s"], &database_variables(&settings)), [""; 0]);
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
    let wrong = [("OPENCUE_SCHEDULER_CONFIG", "/nonexistent".to_owned())];
    assert_eq!(completed(&["plan", "--show", "s"], &wrong), [""; 0]);
}
