//! What holds work back, or counts as done, without being a fact of the database.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{
    AllocId, BookingRequest, FolderId, Fractions, Host, HostId, HostOddity, HostState, JobId, LayerId, LimitId,
    LoadRule, Placement, ShowId, Snapshot, Timestamp,
};
use crate::units::{Amounts, Cores};

/// Laid over a snapshot by whoever plans with it; empty when nothing is known beside the snapshot. Keys that
/// the snapshot does not have concern nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holds {
    /// Hosts that take nothing, and why, in words for an operator.
    pub put_aside: BTreeMap<HostId, String>,
    /// Hosts whose next report is overdue: what they run ends unheard. Seconds since the last one.
    pub overdue: BTreeMap<HostId, i64>,
    /// The most cores that were booked on a host in the two minutes before its last report, where more is known
    /// than its procs tell.
    pub booked_lately: BTreeMap<HostId, Cores>,
    /// Hosts that report one and the same load again and again.
    pub load_stuck: BTreeSet<HostId>,
    /// Hosts whose agents have shown not to take all fractions of a core.
    pub fractions: BTreeMap<HostId, Fractions>,
    /// Hosts that take no more than so many frames now: their agents could not launch more in time.
    pub launch_room: BTreeMap<HostId, u32>,
    /// Of what a host has idle, so much is handed out to nobody.
    pub withheld: BTreeMap<HostId, Amounts>,
    /// Layers held back for a while after failures.
    pub backing_off: BTreeSet<LayerId>,
    /// Layers whose frames no agent can be told to run, and what is wrong with their rows.
    pub unlaunchable: BTreeMap<LayerId, String>,
    /// Layers that were held back, and of which one frame shall show whether they work.
    pub on_probation: BTreeSet<LayerId>,
    /// Frames that were found to wait, of layers whose counter may promise more.
    pub waiting_found: BTreeMap<LayerId, u32>,
    /// Of a layer's waiting frames, how many failed on a host a moment ago and go to another one.
    pub elsewhere: BTreeMap<LayerId, BTreeMap<HostId, u32>>,
    /// Shows whose scheduler flag was switched off while we ran, and every Cuebot knows by now: they are no
    /// longer ours.
    pub taken_back: BTreeSet<ShowId>,
    /// Bookings that count as made.
    pub assumed: Vec<AssumedBooking>,
}

/// Frames of a layer on a host that count as booked although the snapshot does not show them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AssumedBooking {
    pub host: HostId,
    pub alloc: AllocId,
    pub layer: LayerId,
    pub job: JobId,
    pub folder: FolderId,
    pub show: ShowId,
    pub limits: Vec<LimitId>,
    pub frames: u32,
    /// Per frame.
    pub reservation: Amounts,
}

impl Holds {
    /// Of a host's idle cores, those that other work takes. A load that cannot be true takes none.
    pub fn busy(&self, host: &Host, rule: LoadRule) -> Cores {
        if self.is_load_nonsense(host) { Cores::ZERO } else { host.busy(rule, self.booked_lately(host)) }
    }

    pub fn is_load_nonsense(&self, host: &Host) -> bool {
        host.has_absurd_load() || self.load_stuck.contains(&host.id)
    }

    /// What nobody can believe of a host's last report, in a snapshot that was taken then.
    pub fn oddities(&self, host: &Host, taken_at: Timestamp) -> impl Iterator<Item = HostOddity> {
        let oddities = [
            (HostOddity::LoadTooHigh, host.has_absurd_load()),
            (HostOddity::LoadStuck, self.load_stuck.contains(&host.id)),
            // A report may be newer than the snapshot by a moment.
            (HostOddity::ReportInFuture, (host.reported_at - taken_at).whole_seconds() > 0),
        ];
        oddities.into_iter().filter(|(_, is_so)| *is_so).map(|(oddity, _)| oddity)
    }

    pub fn booked_lately(&self, host: &Host) -> Cores {
        self.booked_lately.get(&host.id).copied().unwrap_or_default().max(host.load.booked_at_report)
    }

    /// Whether a host takes bookings; its own state comes before what holds it back.
    pub fn state<'h>(&self, host: &'h Host) -> Cow<'h, HostState> {
        if host.state.is_closed() {
            Cow::Borrowed(&host.state)
        } else if let Some(reason) = self.put_aside.get(&host.id) {
            Cow::Owned(HostState::PutAside(reason.clone()))
        } else if let Some(&seconds) = self.overdue.get(&host.id) {
            Cow::Owned(HostState::Stale { seconds })
        } else {
            Cow::Borrowed(&host.state)
        }
    }
}

impl AssumedBooking {
    pub fn of_request(request: &BookingRequest) -> Self {
        Self {
            host: request.host.clone(),
            alloc: request.alloc.clone(),
            layer: request.frame.layer.clone(),
            job: request.frame.job.clone(),
            folder: request.folder.clone(),
            show: request.show.clone(),
            limits: request.limits.clone(),
            frames: 1,
            reservation: request.reservation,
        }
    }

    /// `placement` is of a plan for the snapshot.
    pub fn of_placement(snapshot: &Snapshot, placement: &Placement) -> Self {
        let candidate = &snapshot.candidates[placement.candidate];
        let (job, host) = (&snapshot.jobs[candidate.job], &snapshot.hosts[placement.host]);
        Self {
            host: host.id.clone(),
            alloc: host.alloc.clone(),
            layer: candidate.layer.clone(),
            job: job.id.clone(),
            folder: snapshot.folders[job.folder].id.clone(),
            show: snapshot.shows[job.show].id.clone(),
            limits: candidate.limits.iter().map(|&limit| snapshot.limits[limit].id.clone()).collect(),
            frames: placement.frames,
            reservation: placement.reservation,
        }
    }
}
