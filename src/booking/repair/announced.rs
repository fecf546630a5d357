//! Releases that a Cuebot has announced and left to the scheduler of their show, until they are
//! subtracted.

use std::collections::{BTreeMap, HashMap};

use crate::db::repair::{CounterRow, load_rows_of};
use crate::db::{Release, Store, StoreError};
use crate::model::ShowId;
use crate::units::{Amounts, Cores};

/// A notification says whole cores; so much of a proc it may leave out.
const FRACTION_MAX: i64 = Cores::ONE.get() - 1;

#[derive(Debug, Default)]
pub(super) struct Announced {
    /// What was released and how often, by everything else that a notification says.
    releases: HashMap<Release, (Amounts, i64)>,
    /// What is to be subtracted from a row.
    rows: BTreeMap<CounterRow, Amounts>,
    /// What the notifications may have left out, by the rows that they named.
    unsaid: HashMap<CounterRow, Cores>,
}

impl Announced {
    pub(super) fn take_in(&mut self, release: Release) {
        let key = Release { released: Amounts::default(), ..release };
        let (released, times) = self.releases.entry(key).or_default();
        *released += release.released;
        *times += 1;
    }

    /// Finds the rows of what has arrived. Releases of other shows are forgotten.
    pub(super) async fn find_rows(&mut self, store: &Store, shows: &[ShowId]) -> Result<(), StoreError> {
        self.releases.retain(|release, _| shows.contains(&release.show));
        if self.releases.is_empty() {
            return Ok(());
        }
        let (releases, amounts): (Vec<&Release>, Vec<(Amounts, i64)>) =
            self.releases.iter().map(|(release, amounts)| (release, *amounts)).unzip();
        for (row, position) in load_rows_of(store, &releases).await? {
            let Some((released, times)) = amounts.get(position) else { continue };
            *self.rows.entry(row.clone()).or_default() += *released;
            *self.unsaid.entry(row).or_default() += Cores(times.saturating_mul(FRACTION_MAX));
        }
        self.releases.clear();
        Ok(())
    }

    pub(super) fn rows(&self) -> Vec<(CounterRow, Amounts)> {
        self.rows.iter().map(|(row, amounts)| (row.clone(), *amounts)).collect()
    }

    /// What is still to be subtracted from this row.
    pub(super) fn of(&self, row: &CounterRow) -> Amounts {
        self.rows.get(row).copied().unwrap_or_default()
    }

    /// Nothing is to be subtracted from this row any more.
    pub(super) fn settle(&mut self, row: &CounterRow) {
        self.rows.remove(row);
    }

    /// Whether so much, found by comparing, is no more than what notifications have left out.
    pub(super) fn take_unsaid(&mut self, row: &CounterRow, amounts: Amounts) -> bool {
        let Some(unsaid) = self.unsaid.get_mut(row) else { return false };
        let is_unsaid = amounts.fits_in(&Amounts { cores: *unsaid, ..Amounts::default() });
        if is_unsaid {
            *unsaid -= amounts.cores;
        }
        is_unsaid
    }

    /// A row that says what procs hold has been told everything.
    pub(super) fn keep_unsaid(&mut self, is_wrong: impl Fn(&CounterRow) -> bool) {
        self.unsaid.retain(|row, _| is_wrong(row));
    }
}
