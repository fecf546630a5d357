//! Cuebot's database: every statement, and all that knows of columns, transactions and the driver.
//!
//! `read` is what the scheduler reads while it runs, `book` and `repair` what its transactions write, statement
//! by statement, `find` what people ask by name, `check` what is asked before a database is trusted.
//!
//! Invariants:
//! - what is decided between statements is decided elsewhere: by the booking room above all;
//! - column names, sentinels and units of columns end here;
//! - what the schema offers is found in its catalog, never told from a version;
//! - a row that makes no sense is left out and named ([`crate::model::LeftOutRow`]), and the rest of
//!   the farm goes on; where a transaction is written, it fails the statement;
//! - every statement and row is counted (`meter`);
//! - what tables, columns and privileges are needed stands in one list (`privileges`).
//!
//! Statements cast what they read (`::text`, `::int8`), so that a column that some generation of the
//! schema declares wider or narrower reads the same.

pub(crate) mod book;
pub(crate) mod check;
mod connect;
mod error;
mod features;
mod find;
mod meter;
mod pooling;
mod privileges;
mod pulse;
mod read;
pub(crate) mod repair;
mod row;
mod schema;
mod sessions;
mod settings;
mod statement;
mod store;
mod tx;
mod unreached;
mod way;

pub use connect::connect_once;
use error::Result;
pub use error::StoreError;
pub(crate) use error::{Missing, Trouble};
pub use features::Features;
pub(crate) use find::counts::{DeletedLimit, LayerCount, deleted_limits, waiting_counts};
pub(crate) use find::held::{Held, Holder, held};
pub(crate) use find::ledger::{FramelessProc, HostLedger, frameless_procs};
pub use find::names::{Named, names};
pub(crate) use find::work::{
    DeclaredLicences, LayerChunks, LooseTags, SlotWork, declared_licences, layer_chunks, loose_tags, slot_work,
};
pub use find::{FoundFrame, FoundLayer, FrameCounts, Match, RunningOn};
pub(crate) use find::{FoundJob, FoundProc, HeldProc, HostProcs};
pub use meter::MeterReading;
pub use privileges::{MissingPrivilege, needs};
pub(crate) use privileges::{Need, missing_privileges, needs_to_read, needs_to_write};
pub use read::asked::AskedTags;
pub(crate) use read::cluster_rows::ShowSubscriptions;
pub use read::cluster_rows::{AllocTags, ClusterRows};
pub(crate) use read::frames::{AT_ONCE, FailedRun, FrameState, OwnFailures, WantedFrames, WatchedRun};
pub(crate) use read::peers::{ForeignBookings, ShowWaiting, new_proc_id};
pub(crate) use read::probe::ChangeProbe;
pub use read::reading::SnapshotOptions;
pub(crate) use read::redirects::{Destination, FollowedProc, OrderedRedirect, Redirect, Redirects};
pub use read::releases::{Release, ReleaseNotice, Releases};
pub(crate) use read::signs::{EndedFrames, NewestReport};
use row::{Problem, Row};
pub(crate) use schema::needed;
pub use settings::{ConnectSettings, stays_here};
use statement::{Rows, Source, Statement};
pub use store::Store;
pub(crate) use tx::{CommitError, Tx};
pub use way::{Encryption, Way};
