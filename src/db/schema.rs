//! What this database offers, found in its catalog.

use std::collections::HashSet;
use std::fmt;

use super::privileges::{Need, Occasion, needs};
use super::{Source, Statement, StoreError};

/// What the generations of Cuebot's schema add. Column, table or index presence decides, since a
/// database may be migrated by other means and carries no reliable version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a schema")]
pub struct Features {
    /// `show.b_scheduler_managed`: which shows Cuebot leaves to a scheduler.
    pub has_scheduler_managed: bool,
    /// `layer.ts_start_after`: delayed layers.
    pub has_start_after: bool,
    /// `frame.ts_eligible` and `layer.ts_eligible`: when work became ready.
    pub has_ts_eligible: bool,
    /// `layer.int_stuck_detection_llu`: minutes without progress before an agent ends a frame.
    pub has_stuck_detection: bool,
    /// `limit_record.str_type` and table `limit_host`: typed limits with reported use.
    pub has_limit_types: bool,
    /// Table `frame_history_queue`: run times lag behind by minutes.
    pub has_history_queue: bool,
    /// Index `i_frame_layer_dispatch_waiting`: next frames of a layer without reading the others.
    pub has_frame_layer_index: bool,
}

impl Features {
    /// Which Cuebots this schema fits. The schema bounds Cuebot's version from above, it proves
    /// nothing about the running one.
    #[must_use]
    pub const fn generation_guess(&self) -> &'static str {
        if self.has_history_queue || self.has_frame_layer_index {
            "Cuebot 1.37 or later, or an older one on a migrated database"
        } else if self.has_limit_types {
            "Cuebot of autumn 2026: typed limits, per-show scheduler flag"
        } else if self.has_scheduler_managed {
            "Cuebot of summer 2026: per-show scheduler flag"
        } else {
            "Cuebot up to May 2026: exclusion list, no per-show scheduler flag"
        }
    }

    /// Looks the schema up, and checks that what every generation has is there.
    pub(super) async fn detect(source: impl Source) -> Result<Self, StoreError> {
        let tables = needed().map(|need| need.table).chain(["limit_host", "frame_history_queue"]);
        let statement = Statement::new("looking at the schema", include_str!("sql/catalog.sql")).texts(tables);
        let found: HashSet<(String, String)> =
            source.rows(statement).await?.readable(|row| Ok((row.text("relation")?, row.text("part")?)));
        let has = |table: &str, column: &str| found.contains(&(table.to_owned(), column.to_owned()));
        let missing = missing(&has);
        if !missing.is_empty() {
            return Err(StoreError::Schema { missing });
        }
        Ok(Self {
            has_scheduler_managed: has("show", "b_scheduler_managed"),
            has_start_after: has("layer", "ts_start_after"),
            has_ts_eligible: has("frame", "ts_eligible") && has("layer", "ts_eligible"),
            has_stuck_detection: has("layer", "int_stuck_detection_llu"),
            has_limit_types: has("limit_record", "str_type") && has("limit_host", "str_host_name"),
            has_history_queue: has("frame_history_queue", "id"),
            has_frame_layer_index: has("i_frame_layer_dispatch_waiting", ""),
        })
    }
}

/// A part that every generation of the schema has, and this database has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Table(&'static str),
    /// Of a table that is there.
    Column(&'static str, &'static str),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {table}"),
            Self::Column(table, column) => write!(f, "{table}.{column}"),
        }
    }
}

fn missing(has: &impl Fn(&str, &str) -> bool) -> Vec<Missing> {
    let mut missing = Vec::new();
    for need in needed() {
        if has(need.table, "") {
            let absent = need.columns().filter(|column| !has(need.table, column));
            missing.extend(absent.map(|column| Missing::Column(need.table, column)));
        } else {
            missing.push(Missing::Table(need.table));
        }
    }
    missing
}

/// Tables with their columns that every generation has.
pub(crate) fn needed() -> impl Iterator<Item = Need> {
    needs().filter(|need| need.occasion == Occasion::Read)
}
