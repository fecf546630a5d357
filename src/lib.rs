//! The scheduler as a library; the binary in `commands/` only parses, calls and prints.
//!
//! # The way of the data
//!
//! 1. [`clusters`] reads which work and which hosts are ours, narrowed by the settings.
//! 2. [`scheduler`] begins a pass: [`db`] reads one snapshot (hosts, candidates, caps; no frames).
//! 3. What is remembered from earlier passes, and is no fact of the database, becomes the holds.
//! 4. [`planner`] turns snapshot, holds and policy into placements, and a reason for all that waits.
//! 5. [`db`] reads the frames that the placements ask for, in dispatch order.
//! 6. [`rqd`] checks that each of them can be told to an agent.
//! 7. [`booking`] writes them in chunks; the database decides what holds, and what is lost is told.
//! 8. [`scheduler`] launches what was committed, and settles launches whose outcome nobody knows.
//! 9. Agents report to Cuebot, and Cuebot's releases make the next snapshot.
//! 10. [`telemetry`] counts all of it; [`preview`] and [`explain`] take steps 1 to 4 and tell of them.
//!
//! The core ends there: [`units`], [`text`], [`model`], [`planner`], [`db`], [`clusters`], [`rqd`], [`booking`] and
//! [`scheduler`] dispatch a farm. [`preview`], [`explain`] and [`ops`] serve operators, [`farm`] demo and tests.
//!
//! # Where a change goes
//!
//! | change | place |
//! |---|---|
//! | a new gate | its word in [`model`] (`reason.rs`), its condition in [`planner`] (`gates.rs`, in the list of its kind; of a host: a trait with few values, as traits make the groups); how near a host comes, in `trace.rs` and `report.rs`; how it is told and mended in [`explain`] (`gates.rs`, `words.rs`); whether it lasts, in `redirects.rs` of [`scheduler`]; a job that waits for it in `tests/explain.rs`. Metrics and `plan` follow |
//! | a new cap | as a gate, in `caps.rs`; beside it what a booking loses by it, in [`booking`] and `tell.rs` of [`scheduler`], its name and holders in [`explain`], and the audit of [`farm`] |
//! | a new statement | a file in `src/db/sql`, its function in [`db`] beside the others of its kind, what it touches in `privileges.rs`; called from [`booking`] when it writes |
//! | one more column read | its statement (`snapshot_*.sql` for a pass) with the decoding in `db/read`, the field in [`model`], `privileges.rs`; `change_probe.sql` when a change of it lets work start and no report of a host rewrites it |
//! | a column or table of some generations | the same, read through JSON, as `ReadIfThere`; `features.rs` only where the code must know; the schema of [`farm`] |
//! | a new condition of booking | the statement in [`db`], what is lost by it in [`booking`] |
//! | what happens between two passes | `pacing.rs` in [`scheduler`] |
//! | what becomes of a launch | the state machine of `launch` in [`scheduler`] |
//! | a new key | [`config`] (`types.rs`, `keys.rs`) and `config/scheduler.yaml`; what the planner is told by it, the policy |
//! | a default that changes what is booked | its line in `changed.rs` of [`config`], with the key for the old way |
//! | a new metric | [`telemetry`] |
//! | a new command | what it lists: rows in the room that knows them, as a rule [`preview`]; a file in `commands/` over `farm_view.rs`, which has the farm as the service sees it, printed by `listing.rs`; arguments and help in `commands/cli`, its place in `main.rs`, README's table; then `make generate` |
//! | a new check of the database | [`ops`] |
//!
//! # Words
//!
//! Cuebot's words (facility, show, allocation, subscription, folder, job, layer, frame, host, proc, tag,
//! limit) mean what they mean there. Beside them:
//!
//! | word | meaning |
//! |---|---|
//! | cluster | a unit of work selection: a show on an allocation, or on a chunk of tags |
//! | candidate | a layer with waiting frames that some cluster serves |
//! | snapshot | facts of one read-only transaction; never changed afterwards |
//! | holds | what this process remembers and the database does not say: hosts and layers put aside |
//! | policy | how the operator wants choices made |
//! | gate | one condition that a candidate, or a candidate on a host, has to meet; their order is fixed |
//! | reason | the first shut gate: why a candidate waits |
//! | trace | every gate that an evaluation met, and how it stood |
//! | quantum | how many frames of a layer are placed before the next layer is asked |
//! | placement | candidate, host, number of frames, and what each of them reserves |
//! | demand | what a layer asks of a host, and the hosts that could ever meet it |
//! | group | hosts that no gate tells apart; one of them is asked for all |
//! | bundle | cores and memory that a host keeps for GPU work, for each idle GPU |
//! | bucket | hosts of a group that are alike in what they have left |
//! | take back | give a booking back whose frame does not run; in the database, unbook |
//! | pass | one full look: snapshot, plan, bookings |
//! | chunk | the bookings of one transaction |
//! | booking | the rows that make a placement real |
//! | lost | a placement that the database did not take, with why |
//! | launch | telling RQD |
//! | settling | finding out what became of a launch without an answer |
//! | quarantine | a host or layer that is not tried for a while after failures |
//! | back-off | a wait that grows with each failure in a row |
//! | drift | a counter row that differs from what the procs add up to |
//! | overlay | bookings of a preview, put over the next snapshot as if they had been made |
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(test)]
mod fuzz;

pub mod units;

pub mod text;

pub mod model;

pub mod tasks;

pub mod config;

pub mod telemetry;

pub mod planner;

pub mod db;

pub mod clusters;

pub mod rqd;

pub mod booking;

pub mod scheduler;

pub mod preview;

pub mod explain;

pub mod ops;

pub mod farm;
