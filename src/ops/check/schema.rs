//! What the service reads, writes and relies on in Cuebot's schema.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{CheckError, Finding, Found, known, list};
use crate::db::check::{Session, Trigger};
use crate::db::{
    Features, Missing, MissingPrivilege, Need, Store, StoreError, missing_privileges, needed, needs_to_read,
    needs_to_write,
};
use crate::telemetry::error_chain;

pub(super) fn generation(store: Result<&Store, &StoreError>) -> Finding {
    match store {
        Ok(store) => Finding::ok(store.features().generation_guess()),
        Err(StoreError::NotCuebot { missing, .. }) => Finding::failed(
            strange(missing),
            "let database.db_name name Cuebot's database; if this is it, let the user see its tables: USAGE on their \
             schema, which search_path must name",
        ),
        Err(StoreError::Schema { missing }) => {
            let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let found = format!("{} missing: {}", names.len(), names.join(", "));
            Finding::failed(found, "bring its schema up to that of Cuebot")
        }
        Err(error) => Finding::failed(format!("cannot tell: {}", error_chain(error)), "see the checks above"),
    }
}

fn strange(missing: &[Missing]) -> String {
    let tables = || needed().map(|need| need.table);
    let present: Vec<&str> = tables().filter(|table| is_there(missing, table, "")).collect();
    let found = if present.is_empty() { "none".to_owned() } else { format!("only {}", list(present)) };
    format!("this is not Cuebot's database: looked for its tables {}, found {found}", list(tables()))
}

/// What a schema lacks that is Cuebot's; an error where none is.
pub(super) type Lacks = Result<Vec<Missing>, CheckError>;

pub(super) fn lacks(store: Result<&Store, &StoreError>) -> Lacks {
    match store {
        Ok(_) => Ok(Vec::new()),
        Err(StoreError::Schema { missing }) => Ok(missing.clone()),
        Err(_) => Err(CheckError::After("schema")),
    }
}

/// Whether a table, or a column of it, is there to be looked at.
fn is_there(missing: &[Missing], relation: &str, column: &str) -> bool {
    !missing.iter().any(|missing| match missing {
        Missing::Table(table) => *table == relation,
        Missing::Column(table, part) => *table == relation && *part == column,
    })
}

pub(super) async fn read_privileges(session: &mut Session, lacks: &Lacks) -> Found {
    let needs = there(needs_to_read(), lacks)?;
    let lacked = missing_privileges(session, needs.iter().copied(), false).await?;
    Ok(privileges_finding(&lacked, &format!("all that is read, of {} tables", tables_of(&needs))))
}

pub(super) async fn write_privileges(session: &mut Session, features: Option<Features>, lacks: &Lacks) -> Found {
    let has_queue = features.is_some_and(|features| features.has_history_queue);
    let needs = there(needs_to_write(has_queue), lacks)?;
    let lacked = missing_privileges(session, needs.iter().copied(), has_queue).await?;
    let all = format!("all that booking and its triggers write, on {} tables", tables_of(&needs));
    Ok(privileges_finding(&lacked, &all))
}

/// Of tables that are not there nothing can be said.
fn there(needs: impl Iterator<Item = Need>, lacks: &Lacks) -> Result<Vec<Need>, CheckError> {
    let missing = known(lacks)?;
    Ok(needs.filter(|need| is_there(missing, need.table, "")).collect())
}

fn tables_of(needs: &[Need]) -> usize {
    needs.iter().map(|need| need.table).collect::<BTreeSet<_>>().len()
}

fn privileges_finding(lacked: &[MissingPrivilege], all: &str) -> Finding {
    let Some(MissingPrivilege { user, .. }) = lacked.first() else { return Finding::ok(all) };
    let mut by_privilege: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut by_set: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for MissingPrivilege { table, privileges, .. } in lacked {
        for privilege in privileges {
            by_privilege.entry(privilege).or_default().push(table);
        }
        by_set.entry(privileges.join(", ")).or_default().push(table);
    }
    let found: Vec<String> = by_privilege
        .iter()
        .map(|(privilege, relations)| format!("no {privilege} on {}", relations.join(", ")))
        .collect();
    let grants: Vec<String> = by_set
        .iter()
        .map(|(set, relations)| {
            let kind = if set == "USAGE" { "SEQUENCE " } else { "" };
            format!("GRANT {set} ON {kind}{} TO {};", relations.join(", "), identifier(user))
        })
        .collect();
    Finding::failed(found.join("; "), format!("as the owner of the tables: {}", grants.join(" ")))
}

/// As it must be written in a statement.
fn identifier(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

const AFTER: i32 = 0;
const BEFORE: i32 = 2;
const INSERT: i32 = 4;
const UPDATE: i32 = 16;

/// What some trigger must do, whatever it is called.
struct Effect {
    relation: &'static str,
    /// `BEFORE` or `AFTER`.
    timing: i32,
    event: i32,
    /// What its function's source says, in any case.
    says: &'static [&'static str],
    does: &'static str,
    /// Whether the service goes wrong without it.
    is_needed: bool,
}

const EFFECTS: [Effect; 12] = [
    effect("frame", AFTER, UPDATE, &["layer_stat", "job_stat"], "counts frames by state").needed(),
    effect("frame", AFTER, UPDATE, &["frame_history"], "keeps the history of frames"),
    effect("proc", BEFORE, INSERT, &["tried to allocate 0 cores"], "refuses procs without cores"),
    effect("proc", AFTER, UPDATE, &["int_mem_idle"], "follows the memory of procs"),
    effect("proc", AFTER, UPDATE, &["layer_resource"], "follows procs to another layer"),
    effect("host", BEFORE, UPDATE, &["unable to allocate additional core"], "refuses more than a host has"),
    effect("subscription", BEFORE, UPDATE, &["exceeded burst"], "refuses more than a subscription's burst"),
    effect("job_resource", BEFORE, UPDATE, &["exceeded max cores"], "refuses more than a job's cap"),
    effect("job", AFTER, UPDATE, &["folder_resource"], "follows jobs to another folder"),
    effect("folder", AFTER, INSERT, &["folder_resource"], "gives folders their resource row").needed(),
    effect("job", AFTER, INSERT, &["job_resource", "job_stat"], "gives jobs their resource and count rows").needed(),
    effect("layer", AFTER, INSERT, &["layer_resource", "layer_stat"], "gives layers their resource and count rows")
        .needed(),
];

const fn effect(
    relation: &'static str,
    timing: i32,
    event: i32,
    says: &'static [&'static str],
    does: &'static str,
) -> Effect {
    Effect { relation, timing, event, says, does, is_needed: false }
}

impl Effect {
    const fn needed(self) -> Self {
        Self { is_needed: true, ..self }
    }
}

pub(super) async fn triggers(session: &mut Session, lacks: &Lacks) -> Found {
    let missing = known(lacks)?;
    let triggers = session.triggers(&EFFECTS.iter().map(|effect| effect.relation).collect()).await?;
    let effects: Vec<&Effect> = EFFECTS.iter().filter(|effect| is_there(missing, effect.relation, "")).collect();
    Ok(triggers_finding(&effects, &triggers))
}

fn triggers_finding(effects: &[&Effect], triggers: &[Trigger]) -> Finding {
    let (mut missing, mut untold) = (Vec::new(), Vec::new());
    let mut is_needed = false;
    for effect in effects {
        let mut candidates = triggers.iter().filter(|trigger| {
            trigger.is_enabled
                && trigger.relation == effect.relation
                && trigger.kind & BEFORE == effect.timing
                && trigger.kind & effect.event != 0
        });
        let said = |trigger: &Trigger| effect.says.iter().all(|words| trigger.source.contains(words));
        if candidates.clone().any(said) {
            continue;
        }
        let sentence = format!("{}: {}", effect.relation, effect.does);
        if candidates.any(|trigger| !trigger.is_readable) {
            untold.push(sentence);
        } else {
            missing.push(sentence);
            is_needed |= effect.is_needed;
        }
    }
    let present = effects.len() - missing.len() - untold.len();
    let mut found = vec![format!("{present} of {} found by what they do", effects.len())];
    if !missing.is_empty() {
        found.push(format!("none that {}", missing.join("; none that ")));
    }
    if !untold.is_empty() {
        found.push(format!("cannot be read: {}", untold.join("; ")));
    }
    let (found, remedy) = (found.join("; "), "restore Cuebot's triggers, or enable those that are disabled");
    match (missing.is_empty(), untold.is_empty()) {
        (true, true) => Finding::ok(found),
        (true, false) => Finding::warning(found, "compare these triggers with Cuebot's migrations by hand"),
        (false, _) if is_needed => Finding::failed(found, remedy),
        (false, _) => Finding::warning(found, remedy),
    }
}

/// Columns that must lead an index, or our statements and Cuebot's read whole tables.
const INDEXED: &[(&str, &[&str])] = &[
    ("folder", &["pk_folder", "pk_show"]),
    ("folder_resource", &["pk_folder"]),
    ("frame", &["pk_frame", "pk_layer", "pk_job"]),
    ("host", &["pk_host", "pk_alloc"]),
    ("host_local", &["pk_host"]),
    ("host_stat", &["pk_host"]),
    ("host_tag", &["pk_host"]),
    ("job", &["pk_job", "pk_show", "str_state"]),
    ("job_env", &["pk_job"]),
    ("job_resource", &["pk_job"]),
    ("job_stat", &["pk_job"]),
    ("layer", &["pk_layer", "pk_job"]),
    ("layer_env", &["pk_layer"]),
    ("layer_limit", &["pk_layer"]),
    ("layer_resource", &["pk_layer", "pk_job"]),
    ("layer_stat", &["pk_layer", "pk_job"]),
    ("point", &["pk_show"]),
    ("proc", &["pk_proc", "pk_frame", "pk_host", "pk_job", "pk_layer", "pk_show"]),
    ("subscription", &["pk_alloc"]),
];
/// A frame has one proc: this index alone makes it so.
const ONE_PROC: (&str, &str) = ("proc", "pk_frame");

pub(super) async fn indexes(session: &mut Session, lacks: &Lacks) -> Found {
    let absent = known(lacks)?;
    let found = session.indexes(INDEXED.iter().map(|(relation, _)| *relation)).await?;
    let key = |(relation, column): (&str, &str)| (relation.to_owned(), column.to_owned());
    if is_there(absent, ONE_PROC.0, ONE_PROC.1) && found.get(&key(ONE_PROC)) != Some(&true) {
        return Ok(Finding::failed(
            "no unique index on proc (pk_frame): a frame could be booked twice",
            "CREATE UNIQUE INDEX CONCURRENTLY c_proc_uk ON proc (pk_frame);",
        ));
    }
    let wanted = || {
        let all = INDEXED.iter().flat_map(|(relation, columns)| columns.iter().map(move |column| (*relation, *column)));
        all.filter(|(relation, column)| is_there(absent, relation, column))
    };
    let missing: Vec<(&str, &str)> = wanted().filter(|wanted| !found.contains_key(&key(*wanted))).collect();
    if missing.is_empty() {
        return Ok(Finding::ok(format!("all {} there", wanted().count())));
    }
    let names = list(missing.iter().map(|(relation, column)| format!("{relation} ({column})")));
    let statements: Vec<String> = missing
        .iter()
        .map(|(relation, column)| format!("CREATE INDEX CONCURRENTLY ON {relation} ({column});"))
        .collect();
    Ok(Finding::warning(format!("none on {names}"), statements.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn trigger(relation: &str, kind: i32, source: &str, is_readable: bool) -> Trigger {
        Trigger { relation: relation.to_owned(), kind, is_enabled: true, source: source.to_owned(), is_readable }
    }

    fn all() -> Vec<Trigger> {
        let of =
            |effect: &Effect| trigger(effect.relation, effect.timing | effect.event | 1, &effect.says.join(" "), true);
        EFFECTS.iter().map(of).collect()
    }

    fn triggers_finding(triggers: &[Trigger]) -> Finding {
        super::triggers_finding(&EFFECTS.iter().collect::<Vec<_>>(), triggers)
    }

    #[test]
    fn triggers_are_known_by_what_they_do() {
        assert_eq!(triggers_finding(&all()).status, Status::Ok);
        let mut without_refusal = all();
        without_refusal.retain(|trigger| trigger.relation != "subscription");
        let finding = triggers_finding(&without_refusal);
        assert_eq!(finding.status, Status::Warning);
        assert_eq!(
            finding.found,
            "11 of 12 found by what they do; none that subscription: refuses more than a subscription's burst"
        );
        let mut disabled = all();
        disabled[0].is_enabled = false;
        assert_eq!(triggers_finding(&disabled).status, Status::Failed, "counts are needed");
        let mut compiled = all();
        compiled[0] = trigger("frame", UPDATE | 1, "", false);
        let finding = triggers_finding(&compiled);
        assert_eq!(finding.status, Status::Warning);
        assert!(finding.found.ends_with("cannot be read: frame: counts frames by state"), "{}", finding.found);
    }

    #[test]
    fn lacked_privileges_come_with_the_grants() {
        let lacked = |table: &str, privileges: &[&str]| MissingPrivilege {
            user: "Render User".to_owned(),
            table: table.to_owned(),
            privileges: privileges.iter().map(|privilege| (*privilege).to_owned()).collect(),
        };
        let lacked = [
            lacked("frame", &["UPDATE"]),
            lacked("host", &["UPDATE"]),
            lacked("proc", &["DELETE", "INSERT", "UPDATE"]),
            lacked("public.q_seq", &["USAGE"]),
        ];
        let finding = privileges_finding(&lacked, "all");
        assert_eq!(
            finding.found,
            "no DELETE on proc; no INSERT on proc; no UPDATE on frame, host, proc; no USAGE on public.q_seq"
        );
        assert_eq!(
            finding.remedy.as_deref(),
            Some(
                "as the owner of the tables: GRANT DELETE, INSERT, UPDATE ON proc TO \"Render User\"; GRANT UPDATE ON \
                 frame, host TO \"Render User\"; GRANT USAGE ON SEQUENCE public.q_seq TO \"Render User\";"
            )
        );
    }
}
