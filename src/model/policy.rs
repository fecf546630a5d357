//! Everything the planner may be told besides the snapshot.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use strum::{Display, EnumString, VariantNames};

use super::GpuKeep;
use crate::units::Kib;

#[derive(Clone, Debug, PartialEq, SmartDefault, Serialize, Deserialize)]
pub struct Policy {
    pub job_order: JobOrder,
    /// Frames a layer may place before the next layer has its turn (turns repeat).
    #[default(20)]
    pub frames_per_layer_turn: u32,
    /// Bound on frames placed by one plan, so that a pass stays short on a huge idle farm.
    #[default(20_000)]
    pub frames_per_pass_max: u32,
    pub host_strategy: HostStrategy,
    pub host_load: LoadRule,
    pub fractional_cores: FractionalCores,
    /// A threadable frame that would leave at most this much idle memory takes all whole idle cores.
    #[default(Kib(1_572_864))]
    pub memory_stranded_threshold: Kib,
    pub gpu_keep: GpuKeep,
    /// Services whose threadable frames take all whole idle cores.
    pub selfish_services: BTreeSet<String>,
}

/// Order of jobs inside one show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, Display, VariantNames, Serialize, Deserialize)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum JobOrder {
    /// Highest priority first, then the job that started first.
    #[default]
    Priority,
    /// The job that started first, whatever its priority.
    Fifo,
}

/// Which of the fitting hosts is taken first. The published flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SmartDefault, Serialize, Deserialize)]
pub struct HostStrategy {
    /// True: the smallest idle core count that fits. False: the largest.
    #[default(true)]
    pub core_saturation: bool,
    /// Among equal core counts. True: the smallest idle memory that fits. False: the largest.
    pub memory_saturation: bool,
}

/// Whose load a machine's reported load is, as far as it takes idle cores away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, Display, VariantNames, Serialize, Deserialize)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum LoadRule {
    /// What is not explained by bookings is other work.
    #[default]
    Foreign,
    /// All of it counts, as Cuebot has it.
    Cuebot,
    /// None of it counts.
    Off,
}

/// What becomes of a reservation that is not a multiple of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FractionalCores {
    /// Booked as it is.
    #[default]
    Keep,
    /// Rounded up to whole cores when planned, since some agents refuse fractions.
    RoundUp,
}
