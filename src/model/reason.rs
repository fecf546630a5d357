//! The closed list of reasons why work waits.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, IntoStaticStr, VariantNames};

/// Why a candidate still has waiting frames after a plan. Exactly one holds: the first in this
/// order, which is the order of the gates. The same word is printed, explained and counted.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    EnumIter,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum WaitReason {
    /// The row of the layer or of its job makes no sense.
    RowUnusable,
    /// The job is paused.
    JobPaused,
    /// `job.b_auto_book` is off.
    AutoBookOff,
    /// The show is not active.
    ShowInactive,
    /// The show's scheduler flag was switched off while the service ran.
    ShowTakenBack,
    /// The layer's start-after time has not come.
    StartAfter,
    /// No agent could be told to run its frames: they lie outside the layer's range, or the like.
    Unlaunchable,
    /// The layer asks for slots, which nobody here books.
    SlotsRequired,
    /// Its environment declares licences, and the settings say not to book such work.
    LicencesDeclared,
    /// Hosts carry the layer's tags, and no selected cluster reaches them.
    NotSelected,
    /// No allocation with matching hosts has a subscription of the show.
    NoSubscription,
    /// Every such subscription has a burst of 0 or less.
    SubscriptionFrozen,
    /// Booking one more frame would exceed the burst of every such subscription.
    SubscriptionBurst,
    FolderCores,
    FolderGpus,
    /// The job's maximum is 0 or -1: Cuebot and its trigger book nothing.
    JobCapNotPositive,
    JobCores,
    JobGpus,
    /// A limit of the layer has no room.
    LimitReached,
    /// No host, in whatever state, carries one of the tags.
    NoHostWithTags,
    /// Hosts carry the tags, none of them is up, open, fresh and free of local work.
    NoHostOpen,
    /// No open host runs the job's operating system.
    OperatingSystem,
    /// Every open host runs whole-machine frames and the layer is not threadable.
    ThreadMode,
    /// Too big for every host, even an empty one.
    Shape,
    /// Every host that could run it keeps earlier launches waiting, and is given no more meanwhile.
    LaunchesWaiting,
    /// Every host that could run it measures too little free memory to be given anything.
    LowFreeMemory,
    /// Every host that has room for it is busy with other work, as its load says.
    HostLoad,
    /// Every host that could run it keeps what it has idle for GPU work.
    GpuReserved,
    /// Fits an empty host, not what is idle now.
    Capacity,
    /// Hosts have room, and all frames that wait failed on them a moment ago: another one is waited for.
    RetryElsewhere,
    /// A booking lost its frames or amounts to somebody else in this pass; tried again in the next.
    LostRace,
    /// Held back for a while after failures.
    BackOff,
    /// Placed in part: the pass reached its own bound on frames.
    PassFull,
}

impl WaitReason {
    /// One line for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::RowUnusable => "the row of the layer or its job cannot be used",
            Self::JobPaused => "the job is paused",
            Self::AutoBookOff => "the job has automatic booking off",
            Self::ShowInactive => "the show is not active",
            Self::ShowTakenBack => "the show's scheduler flag was switched off",
            Self::StartAfter => "the layer may not start yet",
            Self::Unlaunchable => "no agent can be told to run its frames as the rows are",
            Self::SlotsRequired => "the layer asks for slots, which are not booked yet",
            Self::LicencesDeclared => "its environment declares licences, and the settings leave such work out",
            Self::NotSelected => "no selected cluster serves its tags",
            Self::NoSubscription => "the show has no subscription where matching hosts are",
            Self::SubscriptionFrozen => "the subscription's burst is 0",
            Self::SubscriptionBurst => "the subscription is at its burst",
            Self::FolderCores => "the folder is at its core cap",
            Self::FolderGpus => "the folder is at its GPU cap",
            Self::JobCapNotPositive => "the job's cap is 0 or -1",
            Self::JobCores => "the job is at its core cap",
            Self::JobGpus => "the job is at its GPU cap",
            Self::LimitReached => "a limit of the layer is reached",
            Self::NoHostWithTags => "no host carries its tags",
            Self::NoHostOpen => "no host with its tags is up and open",
            Self::OperatingSystem => "no open host runs its operating system",
            Self::ThreadMode => "open hosts take threadable layers only",
            Self::Shape => "too big for every host, even an empty one",
            Self::LaunchesWaiting => "hosts that could run it keep earlier launches waiting",
            Self::LowFreeMemory => "hosts measure too little free memory to be given anything",
            Self::HostLoad => "hosts with room are busy with other work, as their load says",
            Self::GpuReserved => "hosts keep what goes with their idle GPUs for GPU work",
            Self::Capacity => "fits an empty host, but not what is idle now",
            Self::RetryElsewhere => "its frames failed a moment ago on the hosts with room, and wait for others",
            Self::LostRace => "lost a race for frames or amounts, tried again in the next pass",
            Self::BackOff => "held back for a while after failures",
            Self::PassFull => "the pass is full, planned again in the next one",
        }
    }
}
