//! A plan as a document: shown, kept in a file, and shown again later.
//!
//! The field names are what other programs read; they change only together with
//! [`PlanDocument::VERSION`]. Cores are in cores (half a core is 0.5), memory in KiB.

use std::collections::{BTreeMap, BTreeSet};

use time::format_description::well_known::Rfc3339;

use super::Look;
use crate::db::LayerCount;
use crate::model::{CandidateIx, FrameId, HostId, JobId, LayerId, Snapshot, WaitReason, WaitingFrame};
use crate::scheduler::{PlacedFrame, ReasonRow};
use crate::units::Amounts;

/// Which frames would go where, what waits, and why.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PlanDocument {
    /// Always [`Self::FORMAT`].
    pub format: String,
    pub version: u32,
    /// When the farm was read, by the database's clock (RFC 3339).
    pub taken_at: String,
    pub totals: PlanTotals,
    /// Clusters under which something would be placed, by name.
    pub clusters: Vec<ClusterShare>,
    /// In the order of decision.
    pub placements: Vec<PlacementRow>,
    /// Layers of which frames are left waiting.
    pub waiting: Vec<WaitingRow>,
    /// What waits, by reason.
    pub reasons: Vec<ReasonRow>,
    /// Layers whose counters promised frames that are not there; they were planned without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrong_counts: Vec<WrongCountRow>,
}

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PlanTotals {
    /// Frames that would be placed, and what they stand in and go to.
    pub frames: u64,
    pub layers: u64,
    pub jobs: u64,
    pub hosts: u64,
    /// Reserved by all of them together.
    #[serde(flatten)]
    pub reserved: Amounts,
    pub waiting_frames: u64,
    pub waiting_layers: u64,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ClusterShare {
    pub cluster: String,
    pub frames: u64,
    pub layers: u64,
    pub hosts: u64,
    #[serde(flatten)]
    pub reserved: Amounts,
}

/// A layer, by what tells it from others.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Work {
    pub show: String,
    pub job: String,
    pub job_id: JobId,
    pub layer: String,
    pub layer_id: LayerId,
}

/// Frames of one layer that would go to one host, each with the same amounts.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PlacementRow {
    #[serde(flatten)]
    pub work: Work,
    pub host: String,
    pub host_id: HostId,
    pub cluster: String,
    /// Per frame.
    #[serde(flatten)]
    pub reserved: Amounts,
    pub frames: Vec<FrameRow>,
    /// What the live farm has against it, where somebody has asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overtaken: Vec<Overtaken>,
}

/// Why a kept placement would not be made today.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Overtaken {
    pub cause: OvertakenCause,
    /// For a person.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OvertakenCause {
    /// The host is not among the hosts of our facilities any more.
    HostGone,
    /// It takes no bookings now.
    HostNotOpen,
    /// It has less idle than the plan wants of it.
    HostFull,
    /// The layer waits no more, or its job is not pending.
    LayerGone,
    JobPaused,
    /// Frames run, have run, or were changed.
    FramesTaken,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FrameRow {
    pub id: FrameId,
    pub name: String,
    pub number: i32,
    /// `frame.int_version` when it was planned.
    pub version: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WaitingRow {
    #[serde(flatten)]
    pub work: Work,
    /// Clusters that reach it.
    pub clusters: Vec<String>,
    pub frames: u32,
    pub reason: WaitReason,
    /// What makes its row unusable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WrongCountRow {
    #[serde(flatten)]
    pub work: Work,
    /// Frames that wait, as the counter says, and as they are.
    pub count: i64,
    pub frames: i64,
}

/// A file that holds no plan of ours.
#[derive(Debug, thiserror::Error)]
pub enum PlanFormatError {
    #[error("it is not a kept plan")]
    NotAPlan(#[source] serde_json::Error),
    #[error("it is not a kept plan: its format is \"{found}\"")]
    OtherFormat { found: String },
    #[error("its format has version {found}, this program reads version {}", PlanDocument::VERSION)]
    OtherVersion { found: u32 },
}

impl PlanDocument {
    pub const FORMAT: &'static str = "cue-scheduler plan";
    pub const VERSION: u32 = 1;

    /// What a look has found.
    pub fn of(look: &Look) -> Self {
        let Look { snapshot, plan, wrong_counts, .. } = look;
        let waiting = plan.waiting.iter().map(|waiting| WaitingRow {
            work: Work::of(snapshot, waiting.candidate),
            clusters: (snapshot.candidates[waiting.candidate].clusters.iter())
                .map(|&at| snapshot.clusters[at].name.clone())
                .collect(),
            frames: waiting.frames,
            reason: waiting.reason,
            detail: (snapshot.candidates[waiting.candidate].unusable.as_ref())
                .filter(|_| waiting.reason == WaitReason::RowUnusable)
                .map(|row| format!("{}: {}", row.table, row.problem)),
        });
        let taken_at = snapshot.taken_at.format(&Rfc3339).unwrap_or_default();
        let wrong_counts = wrong_counts.iter().filter_map(|count| WrongCountRow::of(snapshot, count)).collect();
        Self::with(taken_at, placements(look), waiting.collect(), wrong_counts)
    }

    /// Counts anew what the rows come to.
    pub(super) fn with(
        taken_at: String,
        placements: Vec<PlacementRow>,
        waiting: Vec<WaitingRow>,
        wrong_counts: Vec<WrongCountRow>,
    ) -> Self {
        Self {
            format: Self::FORMAT.to_owned(),
            version: Self::VERSION,
            taken_at,
            totals: totals(&placements, &waiting),
            clusters: shares(&placements),
            reasons: ReasonRow::count(waiting.iter().map(|row| (row.reason, row.frames))).into_values().collect(),
            placements,
            waiting,
            wrong_counts,
        }
    }

    /// Reads a document that was kept.
    ///
    /// # Errors
    /// When the text is something else, or of another version.
    pub fn parse(text: &str) -> Result<Self, PlanFormatError> {
        #[derive(serde::Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(PlanFormatError::NotAPlan)?;
        if head.format != Self::FORMAT {
            return Err(PlanFormatError::OtherFormat { found: head.format });
        }
        if head.version != Self::VERSION {
            return Err(PlanFormatError::OtherVersion { found: head.version });
        }
        serde_json::from_str(text).map_err(PlanFormatError::NotAPlan)
    }
}

impl Work {
    fn of(snapshot: &Snapshot, candidate: CandidateIx) -> Self {
        let candidate = &snapshot.candidates[candidate];
        let job = &snapshot.jobs[candidate.job];
        Self {
            show: snapshot.shows[job.show].name.clone(),
            job: job.name.clone(),
            job_id: job.id.clone(),
            layer: candidate.layer_name.clone(),
            layer_id: candidate.layer.clone(),
        }
    }

    pub fn name(&self) -> String {
        format!("{}/{}", self.job, self.layer)
    }
}

impl WrongCountRow {
    /// `None` for a layer that is no candidate.
    fn of(snapshot: &Snapshot, wrong: &LayerCount) -> Option<Self> {
        let candidate =
            CandidateIx::all(&snapshot.candidates).find(|&at| snapshot.candidates[at].layer == wrong.layer)?;
        Some(Self { work: Work::of(snapshot, candidate), count: wrong.count, frames: wrong.frames })
    }
}

/// Placements of which frames were found.
fn placements(look: &Look) -> Vec<PlacementRow> {
    let Look { snapshot, plan, frames, .. } = look;
    let of_same = frames.chunk_by(|a, b| a.placement == b.placement);
    let row = |frames: &[PlacedFrame]| {
        let placement = &plan.placements[frames.first()?.placement];
        let host = &snapshot.hosts[placement.host];
        Some(PlacementRow {
            work: Work::of(snapshot, placement.candidate),
            host: host.name.clone(),
            host_id: host.id.clone(),
            cluster: snapshot.clusters[placement.cluster].name.clone(),
            reserved: placement.reservation,
            frames: frames.iter().map(|placed| FrameRow::of(&placed.frame)).collect(),
            overtaken: Vec::new(),
        })
    };
    of_same.filter_map(row).collect()
}

impl FrameRow {
    fn of(frame: &WaitingFrame) -> Self {
        Self { id: frame.id.clone(), name: frame.name.clone(), number: frame.number, version: frame.version }
    }
}

/// Different values of a key.
fn distinct<'r, K: Ord + 'r>(rows: &[&'r PlacementRow], key: fn(&'r PlacementRow) -> K) -> u64 {
    rows.iter().map(|row| key(row)).collect::<BTreeSet<_>>().len() as u64
}

fn share(cluster: &str, rows: &[&PlacementRow]) -> ClusterShare {
    ClusterShare {
        cluster: cluster.to_owned(),
        frames: rows.iter().map(|row| row.frames.len() as u64).sum(),
        layers: distinct(rows, |row| &row.work.layer_id),
        hosts: distinct(rows, |row| &row.host_id),
        reserved: rows.iter().flat_map(|row| row.frames.iter().map(|_| row.reserved)).sum(),
    }
}

fn totals(placements: &[PlacementRow], waiting: &[WaitingRow]) -> PlanTotals {
    let rows: Vec<&PlacementRow> = placements.iter().collect();
    let ClusterShare { frames, layers, hosts, reserved, .. } = share("all", &rows);
    PlanTotals {
        frames,
        layers,
        jobs: distinct(&rows, |row| &row.work.job_id),
        hosts,
        reserved,
        waiting_frames: waiting.iter().map(|row| u64::from(row.frames)).sum(),
        waiting_layers: waiting.len() as u64,
    }
}

fn shares(placements: &[PlacementRow]) -> Vec<ClusterShare> {
    let mut by_cluster: BTreeMap<&str, Vec<&PlacementRow>> = BTreeMap::new();
    for row in placements {
        by_cluster.entry(&row.cluster).or_default().push(row);
    }
    by_cluster.into_iter().map(|(cluster, rows)| share(cluster, &rows)).collect()
}
