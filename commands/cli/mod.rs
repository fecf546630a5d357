//! The command line as types. No logic and nothing from the library: what a value means, and
//! whether it is any good, is decided where the settings are resolved.

mod bash;
mod help;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, ColorChoice, Parser, Subcommand, ValueEnum};
use strum::Display;

pub(crate) use self::bash::SHELLS;

/// Frame dispatching for OpenCue render farms.
///
/// Looks at the whole pool of hosts and all waiting work, decides, books in batches and tells RQD to
/// launch. Without a command it runs the service.
#[derive(Debug, Parser)]
#[command(name = "cue-scheduler", version, max_term_width = 100, subcommand_precedence_over_arg = true, after_long_help = help::ROOT)]
#[command(mut_args(|arg| in_both_spellings(arg.global(true))), mut_subcommands(with_both_spellings))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,

    #[command(flatten)]
    pub(crate) selection: SelectionArgs,

    /// None: run the service.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

fn with_both_spellings(command: clap::Command) -> clap::Command {
    command.mut_args(in_both_spellings).mut_subcommands(with_both_spellings)
}

/// A flag of several words is understood with hyphens and with underscores.
fn in_both_spellings(arg: Arg) -> Arg {
    match arg.get_long().map(str::to_owned) {
        Some(long) if long.contains('_') => arg.visible_alias(long.replace('_', "-")),
        Some(long) if long.contains('-') => arg.visible_alias(long.replace('-', "_")),
        _ => arg,
    }
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Configuration file (YAML); it must exist.
    ///
    /// Without it: the file that `OPENCUE_SCHEDULER_CONFIG` names, else
    /// ~/.config/cue-scheduler/scheduler.yaml, else /etc/cue-scheduler/scheduler.yaml, else the
    /// built-in defaults.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Say more; twice: everything.
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Say less; twice: errors only.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) quiet: u8,

    /// Form of the data on standard output.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: OutputFormat,

    /// Colours in what is printed.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: ColorChoice,

    /// Port of the metrics and health pages, instead of `queue.metrics_port`; 0: any free one.
    #[arg(long = "metrics_port", value_name = "PORT")]
    pub(crate) metrics_port: Option<u16>,
}

/// The forms in which data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For reading, within the terminal's width.
    #[default]
    Table,
    /// For reading, all columns.
    Wide,
    Json,
    Yaml,
    Csv,
    /// Names alone, one a line.
    Name,
}

/// Which work and which hosts are this scheduler's. Each flag replaces its key of the file.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct SelectionArgs {
    /// Only clusters of this facility.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) facility: Option<String>,

    /// Allocation clusters, as show:tag; comma-separated or repeated.
    #[arg(short, long = "alloc_tags", num_args = 1.., value_delimiter = ',', value_name = "SHOW:TAG")]
    pub(crate) alloc_tags: Vec<String>,

    /// Manual tags to serve; comma-separated or repeated.
    #[arg(short = 't', long = "manual_tags", num_args = 1.., value_delimiter = ',', value_name = "TAG")]
    pub(crate) manual_tags: Vec<String>,

    /// Tags to leave to others, of every kind; comma-separated or repeated.
    #[arg(short, long = "ignore_tags", num_args = 1.., value_delimiter = ',', value_name = "TAG")]
    pub(crate) ignore_tags: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service: plan, book and launch until told to stop. The default.
    #[command(after_long_help = help::RUN)]
    Run,

    /// Check whether the service would run on this database with these settings.
    ///
    /// Looks at the connection, the schema, the privileges, what the settings select and the rows of it.
    /// Nothing is written.
    #[command(after_long_help = help::CHECK_DB)]
    CheckDb(CheckDbArgs),

    /// Show the clusters of this configuration: their hosts, and what waits in them.
    #[command(subcommand, after_long_help = help::CLUSTERS)]
    Clusters(ClustersCommand),

    /// Check and show the settings, or write a first file.
    #[command(subcommand, after_long_help = help::CONFIG)]
    Config(ConfigCommand),

    /// Bring up a whole farm on this machine and let the scheduler work through it.
    ///
    /// A private PostgreSQL, Cuebot's tables, a seeded farm, simulated RQD hosts that answer real gRPC,
    /// and a stand-in for Cuebot that releases what ran. Nothing outside this machine is touched.
    #[command(after_long_help = help::DEMO)]
    Demo(DemoArgs),

    /// Let the scheduler work for a while without writing or launching anything.
    ///
    /// Cycles follow each other as those of `run`, and each sees the farm as if the ones before had
    /// been booked; frames that the live farm takes meanwhile are forgotten. Without --cycles and --for
    /// it ends when a cycle books nothing. What waits after the last cycle is shown with its reasons.
    /// Ctrl-C ends it early, with the summary.
    #[command(after_long_help = help::DRY_RUN)]
    DryRun(DryRunArgs),

    /// Print what Cuebot must be told to leave the clusters of this configuration alone, and check it.
    ///
    /// Where shows carry no scheduler flag, that is the property `dispatcher.exclusion_list` for the
    /// opencue.properties of every Cuebot. Where they do, it is the flag, and the commands that set it are
    /// printed instead. Nothing is written to the database.
    #[command(after_long_help = help::EXCLUSION_LIST)]
    ExclusionList(ExclusionListArgs),

    /// Say why a job, a layer or a frame waits, or what a host could take.
    ///
    /// Judged on one snapshot and one plan, as `run` makes them: each gate in order with the hosts that it
    /// takes away, the caps, what goes first, the nearest host, and what would make it run. Nothing is
    /// written.
    ///
    /// A name is exact, an id, or the beginning of just one name. Exit codes: 0 done, 1 failed or no single
    /// match, 2 wrong usage.
    #[command(subcommand, after_long_help = help::EXPLAIN)]
    Explain(ExplainWhat),

    /// Show what the next pass would do: which frames would go where, and why the rest waits.
    ///
    /// Reads the farm once and plans as `run` does; nothing is written. It cannot know which hosts and
    /// layers a running scheduler holds back for a while after failures. While no host has reported for
    /// longer than any agent's interval, it says so and places nothing: Cuebot does not answer.
    #[command(after_long_help = help::PLAN)]
    Plan(PlanArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DryRunArgs {
    /// End after so many cycles.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cycles: Option<u32>,

    /// End after this time: 30s, 5m, 1h.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) time: Option<Duration>,

    /// Run every booking transaction against the database too, and roll it back, so that triggers, caps
    /// and locks have their say. Needs the rights of `run`; rows are locked for a moment.
    #[arg(long)]
    pub(crate) verify: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExplainWhat {
    /// Each layer of a job: what waits and why.
    #[command(after_long_help = help::EXPLAIN_JOB)]
    Job {
        /// Name, beginning of a pending job's name, or id.
        name: String,
    },
    /// One layer in full.
    #[command(after_long_help = help::EXPLAIN_LAYER)]
    Layer {
        /// LAYER, JOB/LAYER, or id; beginnings do.
        name: String,
    },
    /// One frame: where it runs, or why not.
    #[command(after_long_help = help::EXPLAIN_FRAME)]
    Frame {
        /// JOB/FRAME, as show-shot-user_job/0001-render, or id; beginnings do.
        name: String,
    },
    /// What a host has, got and could take.
    #[command(after_long_help = help::EXPLAIN_HOST)]
    Host {
        /// Name, its beginning, or id.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Show only this cluster: a name or its beginning; comma-separated or repeated. The plan itself is
    /// over everything.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) cluster: Vec<String>,

    /// Show only this show.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) show: Vec<String>,

    /// Show only this job: a name, its beginning, or an id.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) job: Vec<String>,

    /// Show only what goes to this host: a name, its beginning, or an id.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) host: Vec<String>,

    /// Totals only.
    #[arg(long)]
    pub(crate) summary: bool,

    /// Keep the plan in this file, as JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(crate) out: Option<PathBuf>,

    /// Show the plan that this file keeps, and what the live farm has overtaken of it.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,

    /// Exit with 0 if nothing waits, 2 if something would be placed, 3 if work waits and nothing can be
    /// placed, 1 after an error.
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClustersCommand {
    /// All clusters, one a line.
    ///
    /// UP tells the hosts that report and all hosts, CORES and GPUS what is idle where bookings are taken
    /// and what there is, WAITING layers and frames, LAST the time since the show was last given a frame
    /// there that still holds its proc. A host or layer that several clusters reach counts in each. The
    /// last part of an allocation cluster's name is its tag; --output wide lists all tags, and the ids.
    #[command(after_long_help = help::CLUSTERS_LIST)]
    List,

    /// Everything about one cluster: its hosts by state, allocations and subscriptions, and what waits by
    /// reason.
    #[command(after_long_help = help::CLUSTERS_SHOW)]
    Show {
        /// Its name, or an unmistakable beginning.
        name: String,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("act").multiple(false))]
pub(crate) struct ExclusionListArgs {
    /// Compare this properties file with the clusters; exit with 1 when both Cuebot and this scheduler, or
    /// neither, would book some work.
    ///
    /// Where the scheduler flag decides, the flags are compared, and no file is needed.
    #[arg(long, value_name = "FILE", num_args = 0..=1, group = "act")]
    #[expect(clippy::option_option, reason = "the flag alone asks something too")]
    pub(crate) check: Option<Option<PathBuf>>,

    /// With --check: an environment file of Cuebot's unit, such as /etc/sysconfig/cuebot; repeatable.
    ///
    /// Its variables win over the properties file, and words in them such as `--name=value` and `-Dname=value`
    /// (mostly in OPTIONS) over both, as Cuebot's command line does.
    #[arg(long, value_name = "FILE", requires = "check")]
    pub(crate) options: Vec<PathBuf>,

    /// With --check: a property as it stands on Cuebot's command line; repeatable.
    #[arg(long, value_name = "KEY=VALUE", requires = "check")]
    pub(crate) property: Vec<String>,

    /// Change the property in this properties file, and nothing else in it, after showing the difference
    /// and asking.
    #[arg(long, value_name = "FILE", group = "act")]
    pub(crate) update: Option<PathBuf>,

    /// Print the property that ends all booking by Cuebot instead; refused while something would then be
    /// booked by nobody.
    #[arg(long, group = "act")]
    pub(crate) full_migration: bool,

    /// Change the file without asking.
    #[arg(long, requires = "update")]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckDbArgs {
    /// Also call the agents of so many hosts, spread over those that are up.
    #[arg(long, value_name = "N")]
    pub(crate) rqd: Option<u32>,

    /// Schedulers that run at once, for what they need of connections together.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) instances: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what is wrong with the settings, as `run` would, and start nothing.
    ///
    /// Also which defaults have changed since the version for which they were written, and how to keep the
    /// old way.
    #[command(after_long_help = help::CONFIG_CHECK)]
    Check,

    /// Show every setting in effect and where it came from. Secrets are masked.
    #[command(after_long_help = help::CONFIG_SHOW)]
    Show,

    /// Write a first file: asks, tries the connection and offers what the database has.
    ///
    /// The file documents every key. A file that is there is never written over without asking.
    #[command(after_long_help = help::CONFIG_INIT)]
    Init(InitArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where to write; ~/.config/cue-scheduler/scheduler.yaml when not given.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Ask nothing: take the flags and, for the rest, the defaults.
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Write over a file that is there.
    #[arg(long)]
    pub(crate) force: bool,

    /// Do not try the connection.
    #[arg(long)]
    pub(crate) offline: bool,

    /// Host of Cuebot's PostgreSQL, or the folder of its socket.
    #[arg(long, value_name = "HOSTNAME")]
    pub(crate) db_host: Option<String>,

    /// Its port.
    #[arg(long, value_name = "PORT")]
    pub(crate) db_port: Option<u16>,

    /// Name of Cuebot's database.
    #[arg(long, value_name = "NAME")]
    pub(crate) db_name: Option<String>,

    /// Database user.
    #[arg(long, value_name = "NAME")]
    pub(crate) db_user: Option<String>,

    /// File that holds the password and nothing else. Without it a password in the environment
    /// (`OPENSCHEDULER_DATABASE__DB_PASS`) is used and not written.
    #[arg(long, value_name = "FILE")]
    pub(crate) db_pass_file: Option<PathBuf>,

    /// Encryption: disable, prefer, require, verify-ca or verify-full.
    #[arg(long, value_name = "WHEN")]
    pub(crate) tls: Option<String>,

    /// With verify-ca and verify-full: certificates to trust (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_root_certificate: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Simulated hosts.
    #[arg(long, default_value_t = 1_200, value_name = "N")]
    pub(crate) hosts: u32,

    /// Jobs that the frames belong to.
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) jobs: u32,

    /// Frames, of all jobs together.
    #[arg(long, default_value_t = 6_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) frames: u32,

    /// Seed of the farm and of its faults; the same seed gives the same farm. Chosen and printed when not given.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,

    /// Real RQD agents that join the simulated hosts; needs Python.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) agents: u32,

    /// Which Cuebot the farm's tables and releases follow.
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub(crate) generation: Generation,

    /// Keep the farm up afterwards until interrupted, and say how to reach it.
    #[arg(long)]
    pub(crate) keep: bool,

    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) faults: FaultArgs,
}

/// What goes wrong, in per cent of what could.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Faults")]
pub(crate) struct FaultArgs {
    /// Launches that hosts refuse.
    #[arg(long, default_value_t, value_name = "PERCENT", value_parser = percent)]
    pub(crate) refuse: f64,

    /// Launches that never reach their host.
    #[arg(long, default_value_t, value_name = "PERCENT", value_parser = percent)]
    pub(crate) lose_requests: f64,

    /// Launches that hosts accept, and whose answer is lost.
    #[arg(long, default_value_t, value_name = "PERCENT", value_parser = percent)]
    pub(crate) lose_answers: f64,

    /// Launches that hosts answer late.
    #[arg(long, default_value_t, value_name = "PERCENT", value_parser = percent)]
    pub(crate) delay_answers: f64,

    /// Hosts that die in the middle of their work.
    #[arg(long, default_value_t, value_name = "PERCENT", value_parser = percent)]
    pub(crate) kill_hosts: f64,
}

fn percent(text: &str) -> Result<f64, &'static str> {
    let number: f64 = text.trim_end_matches('%').parse().map_err(|_| "not a number")?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("not from 0 to 100") }
}

/// Cuebot's generations by who keeps the accounting tables, oldest first.
#[derive(Clone, Copy, Debug, Default, Display, ValueEnum)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Generation {
    /// December 2025: exclusion list, Cuebot subtracts on release.
    G0,
    /// Spring 2026: a property decides who keeps the counters.
    G1,
    /// Summer 2026: flag per show, releases of flagged shows are not subtracted.
    G2,
    /// As G2, with a notification per release.
    G3,
    /// With Cuebot's own planner; a property decides who keeps the counters.
    G4,
    /// Newest: Cuebot always subtracts.
    #[default]
    G5,
}
