//! The command line as types. No logic and nothing from the library: what a value means, and
//! whether it is any good, is decided where the configuration is resolved.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Frame dispatching for OpenCue render farms.
///
/// Looks at the whole pool of hosts and all waiting work, decides, books in batches and tells RQD to
/// launch. Without a command it runs the service.
#[derive(Debug, Parser)]
#[command(name = "cue-scheduler", version, max_term_width = 100, subcommand_precedence_over_arg = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,

    #[command(flatten)]
    pub(crate) selection: SelectionArgs,

    /// None: run the service.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Configuration file (YAML); it must exist.
    ///
    /// Without it: the file that OPENCUE_SCHEDULER_CONFIG names, else
    /// ~/.config/cue-scheduler/scheduler.yaml, else /etc/cue-scheduler/scheduler.yaml, else the
    /// built-in defaults.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,

    /// Say more; twice: everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet", help_heading = "Global options")]
    pub(crate) verbose: u8,

    /// Say less; twice: errors only.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) quiet: u8,

    /// Colours in what is printed.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = "Global options")]
    pub(crate) color: Color,

    /// Port of the metrics and health pages, instead of `queue.metrics_port`.
    #[arg(long, alias = "metrics_port", global = true, value_name = "PORT", help_heading = "Global options")]
    pub(crate) metrics_port: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// Which work and which hosts are this scheduler's. Each flag replaces its key of the file.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct SelectionArgs {
    /// Only clusters of this facility.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) facility: Option<String>,

    /// Allocation clusters, as show:tag; comma-separated or repeated. Needs a facility.
    #[arg(
        short,
        long = "alloc_tags",
        visible_alias = "alloc-tags",
        global = true,
        num_args = 1..,
        value_delimiter = ',',
        value_name = "SHOW:TAG"
    )]
    pub(crate) alloc_tags: Vec<String>,

    /// Manual tags to serve; comma-separated or repeated. Needs a facility.
    #[arg(
        short = 't',
        long = "manual_tags",
        visible_alias = "manual-tags",
        global = true,
        num_args = 1..,
        value_delimiter = ',',
        value_name = "TAG"
    )]
    pub(crate) manual_tags: Vec<String>,

    /// Tags to leave to others, of every kind; comma-separated or repeated.
    #[arg(
        short,
        long = "ignore_tags",
        visible_alias = "ignore-tags",
        global = true,
        num_args = 1..,
        value_delimiter = ',',
        value_name = "TAG"
    )]
    pub(crate) ignore_tags: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service: plan, book and launch until told to stop. The default.
    Run,

    /// Bring up a whole farm on this machine and let the scheduler work through it.
    ///
    /// A private PostgreSQL, Cuebot's tables, a seeded farm, simulated RQD hosts that answer real gRPC,
    /// and a stand-in for Cuebot that releases what ran. Nothing outside this machine is touched.
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Simulated hosts.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) hosts: u32,

    /// Jobs.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) jobs: u32,

    /// Frames, of all jobs together.
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) frames: u32,

    /// Seed of the farm and of its faults; the same seed gives the same farm. Chosen and printed when not given.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,

    /// Real RQD agents that join the simulated ones; needs the published Python package.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) agents: u32,

    /// Scheduler instances that share the work.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) instances: u32,

    /// Which Cuebot the farm's tables and releases follow.
    #[arg(long, alias = "schema_generation", value_enum, default_value_t, value_name = "GENERATION")]
    pub(crate) schema_generation: SchemaGeneration,

    /// What goes wrong while it runs; comma-separated or repeated.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    pub(crate) fault: Vec<Fault>,

    /// Keep the farm up afterwards until interrupted, and say how to reach it.
    #[arg(long)]
    pub(crate) keep: bool,

    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,

    /// Measure: no pauses for the reader, figures at the end.
    #[arg(long)]
    pub(crate) bench: bool,
}

/// Cuebot's generations by who keeps the accounting tables, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaGeneration {
    /// December 2025: exclusion list, Cuebot subtracts on release.
    #[default]
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
    G5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Hosts refuse some launches.
    LaunchRefused,
    /// Some launches never arrive.
    LaunchLost,
    /// Some launches succeed, but the answer is lost.
    AnswerLost,
    /// Hosts vanish in the middle of their work.
    HostLost,
    /// Somebody else books the same frames.
    LostRace,
    /// The database answers late.
    SlowDatabase,
    /// The database is restarted.
    DatabaseRestart,
    /// A scheduler instance is killed.
    InstanceKilled,
}
