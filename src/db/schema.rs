//! What this database offers, found in its catalog.

use std::collections::HashSet;

use super::error::{Missing, Result, StoreError};
use super::features::Features;
use super::privileges::{Need, Occasion, needs};
use super::statement::{Source, Statement};

/// Looks the schema up, and checks that what every generation has is there.
pub(super) async fn detect(source: impl Source) -> Result<Features> {
    let tables = needed().map(|need| need.table).chain(["limit_host", "frame_history_queue"]);
    let statement = Statement::new("looking at the schema", include_str!("sql/catalog.sql")).texts(tables);
    let found: HashSet<(String, String)> =
        source.rows(statement).await?.readable(|row| Ok((row.text("relation")?, row.text("part")?)));
    let has = |table: &str, column: &str| found.contains(&(table.to_owned(), column.to_owned()));
    let missing = missing(&has);
    if !missing.is_empty() {
        return Err(StoreError::Schema { missing });
    }
    Ok(Features {
        has_scheduler_managed: has("show", "b_scheduler_managed"),
        has_start_after: has("layer", "ts_start_after"),
        has_ts_eligible: has("frame", "ts_eligible") && has("layer", "ts_eligible"),
        has_stuck_detection: has("layer", "int_stuck_detection_llu"),
        has_limit_types: has("limit_record", "str_type") && has("limit_host", "str_host_name"),
        has_slots: has("layer", "int_slots_required")
            || has("host", "int_concurrent_slots_limit")
            || has("proc", "int_slots_reserved"),
        has_history_queue: has("frame_history_queue", "id"),
        has_frame_layer_index: has("i_frame_layer_dispatch_waiting", ""),
    })
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

/// Most of Cuebot's tables are not there: another program's database, whatever it shares with Cuebot's.
pub(super) fn is_strange(missing: &[Missing]) -> bool {
    missing_tables(missing) * 2 > needed().count()
}

pub(super) fn missing_tables(missing: &[Missing]) -> usize {
    missing.iter().filter(|missing| matches!(missing, Missing::Table(_))).count()
}

/// Tables with their columns that every generation has.
pub(crate) fn needed() -> impl Iterator<Item = Need> {
    needs().filter(|need| need.occasion == Occasion::Read)
}
