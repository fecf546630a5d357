//! One candidate on one host, as if nobody else wanted anything.

use super::caps::Ledger;
use super::fit::{Refusal, Room, reserve};
use super::gates::{Capped, Nature, Subscribed, limit_gate, room_gate, shape_gate};
use super::plan::Planner;
use crate::model::WaitReason;
use crate::units::Amounts;

/// The state before the plan, with what the candidate has taken since.
pub(super) struct Alone<'p, 's> {
    planner: &'p Planner<'s>,
    ledger: Ledger<'s>,
    room: Room,
    candidate: usize,
    host: usize,
    subscription: Option<usize>,
}

impl<'p, 's> Alone<'p, 's> {
    /// Of a host that the candidate's tags reach.
    pub(super) fn new(planner: &'p Planner<'s>, before: &Ledger<'s>, candidate: usize, host: usize) -> Self {
        Self {
            planner,
            ledger: before.clone(),
            room: planner.view.room(host),
            candidate,
            host,
            subscription: planner.subscription_on(candidate, host),
        }
    }

    /// Takes one more frame, or says which gate the host is stopped by first.
    pub(super) fn take(&mut self) -> Result<Amounts, WaitReason> {
        let (view, policy) = (&self.planner.view, self.planner.policy);
        let host = &view.snapshot.hosts[self.host];
        let work = self.planner.work(self.candidate);
        let demand = self.planner.demands.get(self.candidate);
        work.pass()?;
        Nature { job: work.job(), candidate: work.candidate, host, is_open: view.state(self.host).is_open() }.pass()?;
        shape_gate(&demand.ask, &view.emptied(self.host), policy)?;
        let reserved = room_gate(&demand.ask, &self.room, policy);
        let wanted = reserved.unwrap_or(demand.least);
        let used = self.subscription.map(|position| self.ledger.subscription(position)).unwrap_or_default();
        let subscription = self.subscription.map(|position| &view.snapshot.subscriptions[position]);
        Subscribed { subscription, used, wanted: wanted.cores }.pass()?;
        Capped { work, ledger: &self.ledger, wanted: &wanted }.pass()?;
        limit_gate(&self.ledger, work.candidate, self.host)?;
        let amounts = reserved?;
        if let Some(subscription) = self.subscription {
            self.ledger.take(self.candidate, self.host, subscription, &amounts);
        }
        self.room.idle -= amounts;
        Ok(amounts)
    }

    /// What is short for one more, if the host is to blame.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        reserve(&self.planner.demands.get(self.candidate).ask, &self.room, self.planner.policy).err()
    }
}
