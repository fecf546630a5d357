//! What keeps the server from removing dead rows. Cuebot and we write the same few rows over and over; where
//! dead ones stay, every statement reads them too, slower from hour to hour.

use std::time::Duration;

use super::finding::{Finding, Found, LISTED_MAX, Selected, bounded, known, list};
use crate::db::check::{HeldBack, Session};
use crate::db::{SnapshotOptions, Store};
use crate::units::counted;

pub(super) async fn held_back(session: &mut Session, long: Duration) -> Found {
    Ok(held_back_finding(&session.held_back().await?, long))
}

fn held_back_finding(holders: &[HeldBack], long: Duration) -> Finding {
    let of = |kind: &str, from: i64| -> Vec<&HeldBack> {
        holders.iter().filter(|held| held.kind == kind && held.seconds >= from).collect()
    };
    let long = i64::try_from(long.as_secs()).unwrap_or(i64::MAX);
    let aged = |held: &&HeldBack| format!("{} for {} min", held.name, held.seconds / 60);
    let (mut found, mut remedies) = (Vec::new(), Vec::new());
    let transactions = of("transaction", long);
    if !transactions.is_empty() {
        let pids = transactions.iter().map(|held| held.name.split(' ').next().unwrap_or_default());
        let ends: Vec<String> = pids.take(LISTED_MAX).map(|pid| format!("pg_terminate_backend({pid})")).collect();
        found.push(format!("open transactions: {}", list(transactions.iter().map(aged))));
        remedies.push(format!("let these programs end their transactions, or end them with {}", ends.join(", ")));
    }
    let prepared = of("prepared", long);
    if !prepared.is_empty() {
        let ends: Vec<String> =
            prepared.iter().take(LISTED_MAX).map(|held| quoted("ROLLBACK PREPARED", held)).collect();
        found.push(format!("prepared transactions: {}", list(prepared.iter().map(aged))));
        remedies.push(format!("commit or roll back what nobody will: {}", ends.join("; ")));
    }
    let slots = of("slot", i64::MIN);
    if !slots.is_empty() {
        let drops: Vec<String> = slots
            .iter()
            .take(LISTED_MAX)
            .map(|held| format!("pg_drop_replication_slot('{}')", held.name.replace('\'', "''")))
            .collect();
        found.push(format!("replication slots that nobody reads: {}", list(slots.iter().map(|held| &held.name))));
        remedies.push(format!("start what reads them, or drop them with {}", drops.join(", ")));
    }
    if !found.is_empty() {
        return Finding::warning(format!("dead rows are kept by {}", found.join("; ")), remedies.join("; "));
    }
    match of("hidden", i64::MIN).len() {
        0 => Finding::ok("no long transaction, prepared transaction or idle replication slot keeps them"),
        hidden => Finding::ok(format!(
            "none is seen to be kept; {} of others cannot be seen without pg_read_all_stats",
            counted(hidden, "session")
        )),
    }
}

fn quoted(act: &str, held: &HeldBack) -> String {
    format!("{act} '{}'", held.name.replace('\'', "''"))
}

/// Rows that a pass cannot use.
pub(super) async fn left_out(store: Option<&Store>, farm: &Selected) -> Found {
    let farm = known(farm)?;
    let Some(store) = store else { return Ok(Finding::not_checked("depends on schema")) };
    let options = SnapshotOptions::default();
    let snapshot =
        bounded(Box::pin(async { Ok::<_, super::CheckError>(store.load_snapshot(&farm.clusters, &options).await?) }))
            .await?;
    let rows: Vec<String> =
        snapshot.left_out.iter().map(|row| format!("{} {}: {}", row.table, row.id, row.problem)).collect();
    if rows.is_empty() {
        return Ok(Finding::ok("every row makes sense"));
    }
    Ok(Finding::warning(
        format!("{} left out: {}", counted(rows.len(), "row"), list(&rows)),
        "correct these rows; what they stand for waits until then",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn held(kind: &str, name: &str, seconds: i64) -> HeldBack {
        HeldBack { kind: kind.to_owned(), name: name.to_owned(), seconds }
    }

    #[test]
    fn only_what_is_long_keeps_dead_rows() {
        let long = Duration::from_mins(5);
        let short = [held("transaction", "7 of cue (psql)", 299), held("prepared", "two", 10)];
        assert_eq!(held_back_finding(&short, long).status, Status::Ok);
        let hidden = held_back_finding(&[held("hidden", "9", -1)], long);
        assert_eq!(
            (hidden.status, hidden.found.contains("1 session of others")),
            (Status::Ok, true),
            "{}",
            hidden.found
        );
        let all =
            [held("transaction", "7 of cue (psql)", 360), held("prepared", "it's", 3_600), held("slot", "old", -1)];
        let finding = held_back_finding(&all, long);
        assert_eq!(
            finding.found,
            "dead rows are kept by open transactions: 7 of cue (psql) for 6 min; prepared transactions: it's for 60 min; \
             replication slots that nobody reads: old"
        );
        let remedy = finding.remedy.unwrap_or_default();
        for part in ["pg_terminate_backend(7)", "ROLLBACK PREPARED 'it''s'", "pg_drop_replication_slot('old')"] {
            assert!(remedy.contains(part), "{part} is not in {remedy}");
        }
    }
}
