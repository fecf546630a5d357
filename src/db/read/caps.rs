//! Shows, subscriptions and limits: what may not be exceeded.

use std::collections::{BTreeMap, BTreeSet};

use super::reading::Reading;
use crate::db::{Problem, Result, Row, Source as _, Statement};
use crate::model::{LimitId, LimitRow, LimitUse, ShowId, ShowRow, Subscription, SubscriptionId, Timestamp};
use crate::units::Cores;

/// Limits that candidates are bound to.
#[derive(Default)]
pub(super) struct Limits {
    /// Those that can block now, by name and then id.
    pub(super) gating: Vec<LimitRow>,
    /// Ids that no `limit_record` row has.
    pub(super) unknown: BTreeSet<LimitId>,
}

impl Reading<'_> {
    /// With the database's clock.
    pub(super) async fn load_shows(&mut self) -> Result<(Timestamp, Vec<ShowRow>, Vec<Subscription>)> {
        let statement = Statement::new("reading shows and subscriptions", include_str!("../sql/snapshot_shows.sql"))
            .distinct(self.clusters.iter().map(|cluster| &cluster.show))
            .distinct(self.clusters.iter().map(|cluster| &cluster.facility));
        let rows = self.tx.rows(statement).await?;
        let taken_at = rows.one(|row| row.time("taken_at"))?;

        let mut found = BTreeMap::new();
        let mut subscriptions = Vec::new();
        for row in rows.iter() {
            let Ok(Some(show_id)) = row.get::<Option<ShowId>>("pk_show") else { continue };
            match decode_show(&row) {
                Ok(show) => _ = found.insert(show.id.clone(), show),
                Err(problem) => {
                    self.left_out.push(row.left_out("show", "pk_show", problem));
                    continue;
                }
            }
            if let Ok(Some(_)) = row.get::<Option<SubscriptionId>>("pk_subscription") {
                match decode_subscription(&row, show_id) {
                    Ok(subscription) => subscriptions.push(subscription),
                    Err(problem) => self.left_out.push(row.left_out("subscription", "pk_subscription", problem)),
                }
            }
        }
        let mut shows: Vec<ShowRow> = found.into_values().collect();
        shows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        subscriptions.sort_by(|a, b| (&a.show, &a.alloc, &a.id).cmp(&(&b.show, &b.alloc, &b.id)));
        Ok((taken_at, shows, subscriptions))
    }

    pub(super) async fn load_limits(&mut self, bound: BTreeSet<LimitId>) -> Result<Limits> {
        if bound.is_empty() {
            return Ok(Limits::default());
        }
        let of = |sql| Statement::new("reading limits", sql).texts(&bound);
        let has_types = self.tx.features.has_limit_types;
        let statement = if has_types {
            of(include_str!("../sql/snapshot_limits_by_report.sql"))
                .bind(self.options.limit_settle_window.as_secs_f64())
        } else {
            of(include_str!("../sql/snapshot_limits_by_running.sql"))
        };
        let rows = self.tx.rows(statement).await?;
        let mut limits = Limits { gating: Vec::new(), unknown: bound };
        let mut known: BTreeMap<LimitId, LimitRow> = BTreeMap::new();
        for row in rows.iter() {
            if let Ok(id) = row.text("pk_limit_record") {
                limits.unknown.remove(id.as_str());
            }
            match decode_limit(&row, has_types) {
                Ok(None) => {}
                Ok(Some(limit)) => match known.get_mut(&limit.id) {
                    None => _ = known.insert(limit.id.clone(), limit),
                    Some(twin) => {
                        let problem = "two rows have this id; the stricter one counts, delete the other";
                        self.left_out.push(row.left_out("limit_record", "pk_limit_record", problem));
                        if room(&limit.usage) < room(&twin.usage) {
                            *twin = limit;
                        }
                    }
                },
                Err(problem) => self.left_out.push(row.left_out("limit_record", "pk_limit_record", problem)),
            }
        }
        limits.gating = known.into_values().collect();
        limits.gating.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(limits)
    }
}

fn decode_show(row: &Row<'_>) -> Result<ShowRow, Problem> {
    Ok(ShowRow {
        id: row.get("pk_show")?,
        name: row.text("str_name")?,
        is_active: row.get("b_active")?,
        is_scheduler_managed: row.get("is_scheduler_managed")?,
    })
}

fn decode_subscription(row: &Row<'_>, show: ShowId) -> Result<Subscription, Problem> {
    Ok(Subscription {
        id: row.get("pk_subscription")?,
        show,
        alloc: row.get("pk_alloc")?,
        size: row.get("int_size")?,
        burst: row.get("int_burst")?,
        cores: Cores(row.counter("int_cores")?),
    })
}

/// `None` for a limit that never blocks: a typed one without a maximum, or that does not gate now. Before limits had
/// types, one without a maximum blocked its layers altogether.
fn decode_limit(row: &Row<'_>, has_types: bool) -> Result<Option<LimitRow>, Problem> {
    let used = row.get("used")?;
    let usage = if has_types {
        let (true, Some(max)) = (row.get("is_gating")?, row.get("threshold")?) else { return Ok(None) };
        if row.get("is_host_limit")? {
            LimitUse::Hosts { used, max, holders: row.ids("holders")? }
        } else {
            LimitUse::Frames { used, max }
        }
    } else {
        LimitUse::Frames { used, max: row.get::<Option<i64>>("int_max_value")?.unwrap_or_default() }
    };
    Ok(Some(LimitRow { id: row.get("pk_limit_record")?, name: row.text("str_name")?, usage }))
}

fn room(usage: &LimitUse) -> i64 {
    match usage {
        LimitUse::Frames { used, max } | LimitUse::Hosts { used, max, .. } => max.saturating_sub(*used),
    }
}
