//! Shows, subscriptions and limits: what may not be exceeded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::db::row::left_out;
use crate::db::{Features, Problem, Row, Source as _, Statement, StoreError, Tx};
use crate::model::{Cluster, LeftOutRow, LimitId, LimitRow, LimitUse, ShowRow, Subscription, Timestamp};
use crate::units::Cores;

pub(super) struct Shows {
    /// The database's clock at the snapshot.
    pub(super) taken_at: Timestamp,
    pub(super) rows: Vec<ShowRow>,
    pub(super) subscriptions: Vec<Subscription>,
}

pub(super) async fn load_shows(
    reading: &mut Tx<'_>,
    clusters: &[Cluster],
    left_out: &mut Vec<LeftOutRow>,
) -> Result<Shows, StoreError> {
    let statement = Statement::new("reading shows and subscriptions", include_str!("../sql/snapshot_shows.sql"))
        .distinct(clusters.iter().map(|cluster| &cluster.show))
        .distinct(clusters.iter().map(|cluster| &cluster.facility));
    let rows = reading.rows(statement).await?;
    let taken_at = rows.one(|row| row.time("taken_at"))?;

    let mut found = BTreeMap::new();
    let mut subscriptions = Vec::new();
    for row in rows.iter() {
        let Ok(Some(show_id)) = row.text_or_null("pk_show") else { continue };
        match decode_show(&row) {
            Ok(show) => _ = found.insert(show.id.clone(), show),
            Err(problem) => {
                left_out.push(row.left_out("show", "pk_show", problem));
                continue;
            }
        }
        if let Ok(Some(_)) = row.text_or_null("pk_subscription") {
            match decode_subscription(&row, show_id) {
                Ok(subscription) => subscriptions.push(subscription),
                Err(problem) => left_out.push(row.left_out("subscription", "pk_subscription", problem)),
            }
        }
    }
    let mut shows: Vec<ShowRow> = found.into_values().collect();
    shows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    subscriptions.sort_by(|a, b| (&a.show, &a.alloc, &a.id).cmp(&(&b.show, &b.alloc, &b.id)));
    Ok(Shows { taken_at, rows: shows, subscriptions })
}

fn decode_show(row: &Row<'_>) -> Result<ShowRow, Problem> {
    Ok(ShowRow {
        id: row.id("pk_show")?,
        name: row.text("str_name")?,
        is_active: row.flag("b_active")?,
        is_scheduler_managed: row.flag_or_null("is_scheduler_managed")?,
    })
}

fn decode_subscription(row: &Row<'_>, show: String) -> Result<Subscription, Problem> {
    Ok(Subscription {
        id: row.id("pk_subscription")?,
        show: show.into(),
        alloc: row.id("pk_alloc")?,
        size: Cores(row.number("int_size")?),
        burst: Cores(row.number("int_burst")?),
        cores: Cores(row.counter("int_cores")?),
    })
}

/// Limits that candidates are bound to.
#[derive(Default)]
pub(super) struct Limits {
    /// Those that can block now, by name and then id.
    pub(super) gating: Vec<LimitRow>,
    /// Ids that no `limit_record` row has.
    pub(super) unknown: BTreeSet<LimitId>,
}

/// `None` for a limit that never blocks.
type DecodeLimit = fn(&Row<'_>) -> Result<Option<LimitRow>, Problem>;

pub(super) async fn load_limits(
    reading: &mut Tx<'_>,
    features: &Features,
    settle_window: Duration,
    bound: &BTreeSet<LimitId>,
    left_out: &mut Vec<LeftOutRow>,
) -> Result<Limits, StoreError> {
    if bound.is_empty() {
        return Ok(Limits::default());
    }
    let of = |sql| Statement::new("reading limits", sql).texts(bound);
    let (statement, decode): (_, DecodeLimit) = if features.has_limit_types {
        let statement = of(include_str!("../sql/snapshot_limits_by_report.sql")).bind(settle_window.as_secs_f64());
        (statement, decode_reported)
    } else {
        (of(include_str!("../sql/snapshot_limits_by_running.sql")), decode_running)
    };
    let mut limits = Limits { gating: Vec::new(), unknown: bound.clone() };
    let mut known: BTreeMap<LimitId, LimitRow> = BTreeMap::new();
    for row in reading.rows(statement).await?.iter() {
        if let Ok(id) = row.text("pk_limit_record") {
            limits.unknown.remove(id.as_str());
        }
        match decode(&row) {
            Ok(None) => {}
            Ok(Some(limit)) => match known.get_mut(&limit.id) {
                None => _ = known.insert(limit.id.clone(), limit),
                Some(twin) => {
                    left_out.push(self::left_out(
                        "limit_record",
                        limit.id.as_str(),
                        "two rows have this id; the stricter one counts, delete the other",
                    ));
                    if room(&limit.usage) < room(&twin.usage) {
                        *twin = limit;
                    }
                }
            },
            Err(problem) => left_out.push(row.left_out("limit_record", "pk_limit_record", problem)),
        }
    }
    limits.gating = known.into_values().collect();
    limits.gating.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(limits)
}

/// The old rule: a limit without a maximum blocks its layers altogether.
fn decode_running(row: &Row<'_>) -> Result<Option<LimitRow>, Problem> {
    let usage =
        LimitUse::Frames { used: row.number("used")?, max: row.number_or_null("int_max_value")?.unwrap_or_default() };
    Ok(Some(LimitRow { id: row.id("pk_limit_record")?, name: row.text("str_name")?, usage }))
}

/// The rule of typed limits: one without a maximum, or one that does not gate now, never blocks.
fn decode_reported(row: &Row<'_>) -> Result<Option<LimitRow>, Problem> {
    let (true, Some(max)) = (row.flag("is_gating")?, row.number_or_null("threshold")?) else { return Ok(None) };
    let used = row.number("used")?;
    let usage = if row.flag("is_host_limit")? {
        LimitUse::Hosts { used, max, holders: row.ids("holders")? }
    } else {
        LimitUse::Frames { used, max }
    };
    Ok(Some(LimitRow { id: row.id("pk_limit_record")?, name: row.text("str_name")?, usage }))
}

fn room(usage: &LimitUse) -> i64 {
    match usage {
        LimitUse::Frames { used, max } | LimitUse::Hosts { used, max, .. } => max.saturating_sub(*used),
    }
}
