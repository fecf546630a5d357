//! Making counters and idle amounts say what the procs say.
//!
//! What a row says too little is put right at once: everybody adds a proc and its amounts in one
//! transaction, so a row that is locked first and summed after is exact. What it says too much may be in
//! the middle of being subtracted, as Cuebot gives up a lost proc statement by statement: only what has
//! been there for long enough is taken off (`surplus`). At once goes what a Cuebot has announced and left
//! to us (`announced`), and everything of a show whose Cuebot was seen to leave its releases to us
//! (`evidence`).
//!
//! Invariants:
//! - no row is ever made to say less than its procs hold, no folder and no point less than its jobs'
//!   counters do, which a move takes along, and caps stay as they are;
//! - what is remembered between looks is a hint: dropped, it costs time and nothing else;
//! - procs are read of rows that say too much, and of no others.

mod announced;
mod evidence;
mod outcome;
mod surplus;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use smart_default::SmartDefault;

pub use outcome::{Repaired, RepairsDone};

use self::announced::Announced;
use self::evidence::{Evidence, Vanished, Verdict};
use self::surplus::Watch;
use super::error::BookingError;
use crate::db::repair::{self as rows, Correction, Counted, CounterRow, Seen, WrongCounter};
use crate::db::{Release, Store, Trouble};
use crate::model::{CounterTable, FacilityId, FrameId, ShowId};
use crate::units::Amounts;

/// No proc that was deleted so long ago is still being subtracted.
const APART: Duration = Duration::from_secs(5);
/// Between looks while a surplus is watched.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// Between looks at shows whose releases are ours: while their procs go, and while they do not.
const OURS_PAUSE_MIN: Duration = Duration::from_millis(500);
const OURS_PAUSE_MAX: Duration = Duration::from_secs(4);

/// What is compared: the counters of shows, and the hosts of facilities, on which any show may have procs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairScope {
    pub shows: Vec<ShowId>,
    pub facilities: Vec<FacilityId>,
}

/// Compares rows with procs and puts them right, look after look.
#[derive(Debug, SmartDefault)]
pub struct Repairs {
    #[default(APART)]
    apart: Duration,
    watched: HashMap<CounterRow, Watched>,
    /// Shows whose Cuebot was seen to leave the accounting of releases to us.
    ours: HashSet<ShowId>,
    #[default(OURS_PAUSE_MIN)]
    ours_pause: Duration,
    announced: Announced,
    /// Rows that the database refuses to change; each is named once.
    refused: HashSet<CounterRow>,
    /// Hosts are compared about as often as they can be judged, and no more.
    hosts_compared: Option<Instant>,
}

/// A row that says too much, or a subscription whose releases are ours.
#[derive(Debug)]
struct Watched {
    show: Option<ShowId>,
    watch: Watch,
    evidence: Evidence,
}

/// What a look saw; to be judged with the announcements that have arrived by then.
#[derive(Debug)]
pub struct Observation {
    asked: Instant,
    answered: Instant,
    shows: Vec<ShowId>,
    flagged: HashSet<ShowId>,
    found: Vec<WrongCounter>,
    seen: HashMap<CounterRow, Seen>,
}

impl Repairs {
    /// `apart` is the age from which on nothing is in the middle of being subtracted any more; the default
    /// is right for Cuebot.
    pub fn new(apart: Duration) -> Self {
        Self { apart, ..Self::default() }
    }

    /// A Cuebot says that it left a release to us. It waits for [`Self::account`].
    pub fn announce(&mut self, release: Release) {
        self.announced.take_in(release);
    }

    /// Subtracts what was announced of `shows`: from each row no more than that.
    ///
    /// # Errors
    /// The database is away, or refuses to be read. What was not subtracted is kept.
    pub async fn account(&mut self, store: &Store, shows: &[ShowId]) -> Result<RepairsDone, BookingError> {
        self.announced.find_rows(store, shows).await?;
        let mut done = RepairsDone::default();
        for (row, announced) in self.announced.rows() {
            if !announced.has_some() {
                self.announced.settle(&row);
                continue;
            }
            let Some(too_much) = self.put_right(store, &row, &Correction::at_most(announced)).await? else { continue };
            self.announced.settle(&row);
            if let Some(watched) = self.watched.get_mut(&row) {
                watched.evidence.lowered(too_much);
            }
            done.releases.extend(Repaired::lowered(&row, too_much));
            done.drift.extend(Repaired::raised(&row, too_much));
        }
        done.tell();
        Ok(done)
    }

    /// Looks for rows that do not say what procs hold, and reads the procs of those that say too much.
    ///
    /// # Errors
    /// The database is away, or refuses to be read.
    pub async fn observe(&mut self, store: &Store, scope: &RepairScope) -> Result<Observation, BookingError> {
        let with_hosts = self.hosts_compared.is_none_or(|at| at.elapsed() >= self.apart / 2);
        let mut found = rows::find_wrong_counters(store, &scope.shows).await?;
        if with_hosts {
            let hosts = rows::find_wrong_hosts(store, &scope.facilities).await?;
            found.extend(hosts.into_iter().map(|(_, host)| host));
            self.hosts_compared = Some(Instant::now());
        }
        let flagged = rows::flagged(store, &scope.shows).await?;
        self.ours.retain(|show| flagged.contains(show));
        let wrong: HashSet<&CounterRow> = found.iter().map(|found| &found.row).collect();
        self.announced.keep_unsaid(|row| wrong.contains(row));
        let is_wrong = |row: &CounterRow| wrong.contains(row) || (!with_hosts && row.table == CounterTable::Host);
        self.refused.retain(is_wrong);
        self.watched.retain(|row, watched| match &watched.show {
            Some(show) if self.ours.contains(show) => row.table == CounterTable::Subscription,
            _ => is_wrong(row),
        });
        let is_wanted = |found: &&WrongCounter| {
            let is_judged = found.row.table == CounterTable::Subscription || !self.is_ours(found.show.as_ref());
            found.too_much.has_some() && is_judged
        };
        let too_high = found.iter().filter(is_wanted).map(|found| &found.row);
        let watched = self.watched.keys().filter(|row| with_hosts || row.table != CounterTable::Host);
        let wanted: BTreeSet<CounterRow> = too_high.chain(watched).cloned().collect();
        let asked = Instant::now();
        let seen = rows::load_counted(store, &wanted).await?;
        let answered = Instant::now();
        Ok(Observation { asked, answered, shows: scope.shows.clone(), flagged, found, seen })
    }

    /// Puts right what a look has shown to be wrong.
    ///
    /// # Errors
    /// The database is away, or refuses to be read. Rows before that are right.
    pub async fn correct(&mut self, store: &Store, observation: Observation) -> Result<RepairsDone, BookingError> {
        let Observation { asked, answered, shows, flagged, found, seen } = observation;
        self.announced.find_rows(store, &shows).await?;
        let show_of: HashMap<&CounterRow, &Option<ShowId>> =
            found.iter().map(|found| (&found.row, &found.show)).collect();
        let mut looks = Vec::with_capacity(seen.len());
        for (row, seen) in seen {
            let surplus = seen.surplus;
            let unexplained = Seen { surplus: surplus - self.announced.of(&row), ..seen };
            if let Some(watched) = self.watched.get_mut(&row) {
                looks.push((row, surplus, watched.watch.look(unexplained, answered)));
            } else if let Some(show) = show_of.get(&row) {
                let (watch, evidence) = (Watch::begin(unexplained, answered), Evidence::begin(surplus));
                self.watched.insert(row, Watched { show: (*show).clone(), watch, evidence });
            }
        }
        looks.retain(|(row, ..)| {
            let show = self.watched.get(row).and_then(|watched| watched.show.as_ref());
            row.table == CounterTable::Subscription && show.is_some_and(|show| flagged.contains(show))
        });
        self.learn(store, &looks, (asked, answered)).await?;

        let mut done = RepairsDone::default();
        for wrong @ WrongCounter { row, show, .. } in &found {
            let is_ours = self.is_ours(show.as_ref());
            let Some(correction) = self.correction(wrong, asked) else { continue };
            let Some(too_much) = self.put_right(store, row, &correction).await? else { continue };
            if let Some(watched) = self.watched.get_mut(row) {
                watched.watch.lowered(too_much);
                watched.evidence.lowered(too_much);
            }
            let lowered = Repaired::lowered(row, too_much);
            let is_release = |repaired: &Repaired| is_ours || self.announced.take_unsaid(row, repaired.too_much);
            let (releases, drift): (Vec<_>, Vec<_>) = lowered.into_iter().partition(is_release);
            done.releases.extend(releases);
            done.drift.extend(drift.into_iter().chain(Repaired::raised(row, too_much)));
        }
        let have_procs_gone = !done.releases.is_empty() || looks.iter().any(|(.., gone)| !gone.is_empty());
        done.look_again = self.pause(have_procs_gone);
        done.tell();
        Ok(done)
    }

    fn is_ours(&self, show: Option<&ShowId>) -> bool {
        show.is_some_and(|show| self.ours.contains(show))
    }

    /// What a row that is wrong may be made to say after a look that was begun at `asked`. `None`: not yet
    /// anything else.
    fn correction(&mut self, wrong: &WrongCounter, asked: Instant) -> Option<Correction> {
        let watched = self.watched.get_mut(&wrong.row);
        let allowed = watched.and_then(|watched| watched.watch.allowance(asked, self.apart));
        if self.is_ours(wrong.show.as_ref()) {
            return Some(Correction::default());
        }
        allowed.or_else(|| wrong.too_much.has_some_below_zero().then(|| Correction::at_most(Amounts::default())))
    }

    /// Takes in what looks at subscriptions of flagged shows tell of their Cuebots.
    async fn learn(
        &mut self,
        store: &Store,
        looks: &[(CounterRow, Amounts, Vec<Counted>)],
        at: (Instant, Instant),
    ) -> Result<(), BookingError> {
        let frames: Vec<&FrameId> =
            looks.iter().flat_map(|(.., gone)| gone).filter_map(|gone| gone.frame.as_ref()).collect();
        let given_up = rows::given_up(store, &frames).await?;
        let has_ended = |gone: &&Counted| gone.frame.as_ref().is_none_or(|frame| !given_up.contains(frame));
        // Of a show that is seen both ways, what was subtracted counts.
        let mut are_ours: BTreeMap<ShowId, bool> = BTreeMap::new();
        for (row, surplus, gone) in looks {
            let Some(Watched { show: Some(show), evidence, .. }) = self.watched.get_mut(row) else { continue };
            let vanished = Vanished {
                all: gone.iter().map(|gone| gone.held).sum(),
                ended: gone.iter().filter(has_ended).map(|gone| gone.held).sum(),
            };
            match evidence.look(*surplus, vanished, at, self.apart) {
                Verdict::Unknown => {}
                Verdict::LeftToUs => _ = are_ours.entry(show.clone()).or_insert(true),
                Verdict::Subtracted => _ = are_ours.insert(show.clone(), false),
            }
        }
        for (show, is_ours) in are_ours {
            if is_ours && self.ours.insert(show.clone()) {
                tracing::info!(%show, "Cuebot leaves the accounting of this show's releases to its scheduler; doing it");
            } else if !is_ours && self.ours.remove(&show) {
                tracing::info!(%show, "somebody else subtracts releases of this show; they are no longer accounted at once");
            }
        }
        Ok(())
    }

    /// How soon the next look is worth while.
    fn pause(&mut self, have_procs_gone: bool) -> Option<Duration> {
        self.ours_pause = if have_procs_gone { OURS_PAUSE_MIN } else { (self.ours_pause * 2).min(OURS_PAUSE_MAX) };
        if !self.ours.is_empty() {
            let is_watching = self.watched.values().any(|watched| !self.is_ours(watched.show.as_ref()));
            return Some(if is_watching { self.ours_pause.min(WATCH_PAUSE) } else { self.ours_pause });
        }
        (!self.watched.is_empty()).then_some(WATCH_PAUSE.min(self.apart))
    }

    /// What the row said too much and no longer does. `None`: somebody holds it; it is there at the next
    /// look.
    async fn put_right(
        &mut self,
        store: &Store,
        row: &CounterRow,
        correction: &Correction,
    ) -> Result<Option<Amounts>, BookingError> {
        let error = match rows::correct(store, row, correction).await {
            Ok(too_much) => return Ok(Some(too_much.unwrap_or_default())),
            Err(error) => error,
        };
        let table = row.table.as_str();
        match error.trouble() {
            Trouble::Connection => return Err(error.into()),
            Trouble::Contention | Trouble::Cancelled => {
                tracing::debug!(table, row = row.id, error = %error.cause(), "a counter is held; leaving it for now");
                return Ok(None);
            }
            _ => {}
        }
        if self.refused.insert(row.clone()) {
            let (row, step, error) = (&row.id, error.step(), error.cause());
            tracing::warn!(table, row, step, %error, "the database refuses to correct a counter; it stays wrong");
        }
        Ok(Some(Amounts::default()))
    }
}
