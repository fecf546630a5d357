//! The closed list of what must hold.

use strum::{IntoStaticStr, VariantArray};

/// What the schema decides about the rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    pub(super) has_typed_limits: bool,
    /// False where history is queued or switched off.
    pub(super) has_open_history: bool,
}

/// What a row breaks. The order is that of the report.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    IntoStaticStr,
    VariantArray,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum AuditRule {
    /// A frame was launched while an earlier launch of it still ran.
    DoubleLaunch,
    /// A running frame's proc was never launched for that frame on that host.
    ProcWithoutLaunch,
    /// A launched process runs and no proc holds its frame.
    ProcessWithoutProc,
    /// A RUNNING frame has no proc.
    FrameWithoutProc,
    /// A proc holds a frame that is not RUNNING.
    ProcWithoutRunningFrame,
    /// Several procs hold one frame.
    SeveralProcs,
    /// A proc and its frame name different things.
    ProcDisagrees,
    /// Idle amounts are not the total less what procs hold.
    HostIdle,
    HostNegative,
    /// The counter is not what procs hold.
    SubscriptionSum,
    LayerSum,
    JobSum,
    FolderSum,
    PointSum,
    SubscriptionBurst,
    /// Procs on an allocation that their show does not subscribe to.
    NoSubscription,
    FolderCap,
    JobCap,
    Limit,
    /// Frame counters are not the counted states.
    LayerCounts,
    JobCounts,
    /// Open history rows are not exactly the running frames.
    History,
}

impl AuditRule {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The stable word for reports and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }

    /// The table whose key a violation names.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::DoubleLaunch | Self::FrameWithoutProc | Self::SeveralProcs | Self::History => "frame",
            Self::ProcWithoutLaunch
            | Self::ProcessWithoutProc
            | Self::ProcWithoutRunningFrame
            | Self::ProcDisagrees => "proc",
            Self::HostIdle | Self::HostNegative => "host",
            Self::SubscriptionSum | Self::SubscriptionBurst => "subscription",
            Self::NoSubscription => "show",
            Self::LayerSum => "layer_resource",
            Self::JobSum | Self::JobCap => "job_resource",
            Self::FolderSum | Self::FolderCap => "folder_resource",
            Self::PointSum => "point",
            Self::Limit => "limit_record",
            Self::LayerCounts => "layer_stat",
            Self::JobCounts => "job_stat",
        }
    }

    /// Whether it means that something was used beyond its burst, cap or limit.
    #[must_use]
    pub const fn is_cap(self) -> bool {
        matches!(self, Self::SubscriptionBurst | Self::NoSubscription | Self::FolderCap | Self::JobCap | Self::Limit)
    }

    /// What finds the rows that break it: their `id` and the `detail`. `None` where launches decide,
    /// or where the schema makes it meaningless.
    pub(super) const fn statement(self, schema: Schema) -> Option<&'static str> {
        Some(match self {
            Self::FrameWithoutProc => include_str!("sql/frame_without_proc.sql"),
            Self::ProcWithoutRunningFrame => include_str!("sql/proc_without_running_frame.sql"),
            Self::SeveralProcs => include_str!("sql/several_procs.sql"),
            Self::ProcDisagrees => include_str!("sql/proc_disagrees.sql"),
            Self::HostIdle => include_str!("sql/host_idle.sql"),
            Self::HostNegative => include_str!("sql/host_negative.sql"),
            Self::SubscriptionSum => include_str!("sql/subscription_sum.sql"),
            Self::LayerSum => include_str!("sql/layer_sum.sql"),
            Self::JobSum => include_str!("sql/job_sum.sql"),
            Self::FolderSum => include_str!("sql/folder_sum.sql"),
            Self::PointSum => include_str!("sql/point_sum.sql"),
            Self::SubscriptionBurst => include_str!("sql/subscription_burst.sql"),
            Self::NoSubscription => include_str!("sql/no_subscription.sql"),
            Self::FolderCap => include_str!("sql/folder_cap.sql"),
            Self::JobCap => include_str!("sql/job_cap.sql"),
            Self::Limit if schema.has_typed_limits => include_str!("sql/limit_by_proc.sql"),
            Self::Limit => include_str!("sql/limit_by_running.sql"),
            Self::LayerCounts => include_str!("sql/layer_counts.sql"),
            Self::JobCounts => include_str!("sql/job_counts.sql"),
            Self::History if schema.has_open_history => include_str!("sql/history.sql"),
            Self::DoubleLaunch | Self::ProcWithoutLaunch | Self::ProcessWithoutProc | Self::History => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_in_json_are_the_words_in_reports() {
        for rule in AuditRule::ALL {
            assert_eq!(serde_json::to_value(rule).expect("a word"), rule.as_str());
        }
    }
}
