//! What a plan knows while it grows: what hosts have left, what is used under each cap, what still waits.

use std::collections::{HashMap, HashSet};

use super::bundles::Bundles;
use super::demand::{Demand, Demands};
use super::eligible::Eligible;
use super::hosts::HostIndex;
use super::ledger::Ledger;
use super::view::View;
use crate::model::{CandidateIx, HostIx, ShowId, Tag};

pub(super) struct State<'s> {
    pub(super) view: View<'s>,
    pub(super) bundles: Bundles<'s>,
    pub(super) index: HostIndex<'s>,
    pub(super) ledger: Ledger<'s>,
    pub(super) demands: Demands<'s>,
    /// Frames still waiting, per candidate.
    pub(super) waiting: Vec<u32>,
    /// As [`View::beside`], of which the plan has taken.
    beside: HashMap<(CandidateIx, HostIx), u32>,
}

impl<'s> State<'s> {
    pub(super) fn new(mut view: View<'s>) -> Self {
        let bundles = Bundles::of(&view);
        view.keep(view.snapshot.hosts.iter().map(|host| bundles.kept_on(host, &view)).collect());
        let asked: HashSet<&Tag> = view.snapshot.candidates.iter().flat_map(|candidate| &candidate.tags).collect();
        let index = HostIndex::new(&view, &asked);
        Self {
            ledger: Ledger::new(&view),
            demands: Demands::of(&view, &index),
            index,
            waiting: view.waiting.clone(),
            beside: view.beside.clone(),
            bundles,
            view,
        }
    }

    pub(super) fn demand(&self, candidate: CandidateIx) -> &Demand<'s> {
        self.demands.get(candidate)
    }

    /// The eligible hosts of a candidate that a host is one of.
    pub(super) fn eligible_with(&self, candidate: CandidateIx, host: HostIx) -> Option<&Eligible<'s>> {
        self.demand(candidate).eligible.iter().find(|eligible| self.index.cluster_in(eligible, host).is_some())
    }

    /// Frames of a candidate that may go now.
    pub(super) fn let_go(&self, candidate: CandidateIx) -> u32 {
        self.view.let_go(candidate, self.waiting[candidate])
    }

    /// Whether a frame of the candidate is left that does not keep off the host.
    pub(super) fn goes_to(&self, candidate: CandidateIx, host: HostIx) -> bool {
        self.beside.get(&(candidate, host)).is_none_or(|frames| *frames > 0)
    }

    /// A frame of the candidate was placed on the host.
    pub(super) fn went_to(&mut self, candidate: CandidateIx, host: HostIx) {
        if let Some(frames) = self.beside.get_mut(&(candidate, host)) {
            *frames = frames.saturating_sub(1);
        }
    }

    pub(super) fn show_of(&self, candidate: CandidateIx) -> &'s ShowId {
        let snapshot = self.view.snapshot;
        &snapshot.shows[snapshot.jobs[snapshot.candidates[candidate].job].show].id
    }
}
