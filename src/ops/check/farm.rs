//! What the settings select, and whether its rows are in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::finding::{CheckError, Farm, Finding, Found, LISTED_MAX, Selected, Status, bounded, known, list};
use crate::db::check::{HostGroup, Session};
use crate::db::repair::{find_wrong_counters, find_wrong_hosts};
use crate::db::{self, Holder, LayerCount, Store};
use crate::ops::handover::{may_have_work, shows};
use crate::units::{Cores, counted};

pub(super) fn selection(farm: &Selected) -> Found {
    let farm = match farm {
        Ok(farm) => farm,
        Err(CheckError::Named(message)) => {
            return Ok(Finding::failed(message, "correct the scheduler section of the settings, or the flags"));
        }
        Err(error) => return Err(error.clone()),
    };
    if farm.clusters.is_empty() {
        let is_flagged = farm.rows.shows.iter().any(|show| show.is_scheduler_managed == Some(false));
        if farm.rows.shows.is_empty() {
            let remedy = "create a show in Cuebot, and subscribe it to an allocation";
            return Ok(Finding::failed("there is no show: nothing would be booked", remedy));
        }
        let remedy = if is_flagged {
            "flag shows for a scheduler with cueadmin -scheduler-managed SHOW on, or name alloc_tags"
        } else {
            "subscribe shows to allocations, and tag hosts"
        };
        return Ok(Finding::failed("no cluster: nothing would be booked", remedy));
    }
    let found = format!(
        "{} of {} in {}",
        counted(farm.clusters.len(), "cluster"),
        counted(farm.shows.len(), "show"),
        list(farm.clusters.iter().map(|cluster| cluster.facility_name.as_str()).collect::<BTreeSet<_>>())
    );
    if farm.rows.left_out.is_empty() {
        return Ok(Finding::ok(found));
    }
    let left_out = list(farm.rows.left_out.iter().map(|row| format!("{} {}: {}", row.table, row.id, row.problem)));
    Ok(Finding::warning(format!("{found}; left out: {left_out}"), "correct these rows"))
}

pub(super) async fn subscriptions(session: &mut Session, farm: &Selected) -> Found {
    let (mut frozen, mut sizeless, mut small) = (Vec::new(), Vec::new(), Vec::new());
    for (name, size, burst) in session.odd_subscriptions(&known(farm)?.shows).await? {
        if (1..100).contains(&burst) || (1..100).contains(&size) {
            small.push(format!("{name} (size {}, burst {})", Cores(size), Cores(burst)));
        }
        if burst <= 0 {
            frozen.push(name);
        } else if size <= 0 {
            sizeless.push(name);
        }
    }
    let found = told([
        ("burst 0, nothing runs", &frozen),
        ("size 0, always last", &sizeless),
        ("less than a core, as if hundredths were taken for cores", &small),
    ]);
    let remedy = "give them a size and a burst: cueadmin -size SHOW ALLOC N and cueadmin -burst SHOW ALLOC N, both in \
                  hundredths of a core (100 cores are 10000; only -create-sub takes cores)";
    Ok(Finding::warning_of(found, "all have a size and a burst", remedy))
}

pub(super) async fn folders(session: &mut Session, farm: &Selected) -> Found {
    let (mut without, mut several) = (Vec::new(), Vec::new());
    for (name, resources) in session.odd_folders(&known(farm)?.shows).await? {
        if resources == 0 { without.push(name) } else { several.push(name) }
    }
    let found = told([
        ("no row in folder_resource, nothing is booked", &without),
        ("several rows in folder_resource", &several),
    ]);
    if found.is_empty() {
        return Ok(Finding::ok("each has one resource row"));
    }
    let status = if without.is_empty() { Status::Warning } else { Status::Failed };
    let remedy =
        "insert the missing rows (pk_folder_resource and pk_folder, both the folder's key); delete surplus ones";
    Ok(Finding { status, ..Finding::failed(found, remedy) })
}

pub(super) async fn hosts(
    session: &mut Session,
    farm: &Selected,
    staleness: Duration,
) -> Result<Vec<HostGroup>, CheckError> {
    Ok(session.host_groups(&known(farm)?.facilities, staleness).await?)
}

pub(super) fn host_states(groups: &Vec<HostGroup>) -> Finding {
    let mut by_alloc: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for group in groups {
        by_alloc.entry(&group.alloc).or_default().push(format!("{} {}", group.hosts, group.condition));
    }
    let found = list(by_alloc.iter().map(|(alloc, conditions)| format!("{alloc}: {}", conditions.join(" + "))));
    let up = hosts_that_are(&["up"], groups);
    if groups.is_empty() {
        Finding::failed("there are none", "start RQD on the hosts, and let it report to Cuebot")
    } else if up == 0 {
        Finding::failed(found, "none is up and open: start RQD, or unlock hosts")
    } else {
        Finding::ok(found)
    }
}

fn hosts_that_are(conditions: &[&str], groups: &[HostGroup]) -> usize {
    groups.iter().filter(|group| conditions.contains(&group.condition.as_str())).map(|group| group.hosts).sum()
}

/// Without a host that says UP there is nothing to be said of it.
pub(super) fn stale_hosts(groups: &[HostGroup], staleness: Duration) -> Found {
    let up = hosts_that_are(&["up", "locked"], groups);
    let stale: Vec<&str> = groups.iter().flat_map(|group| &group.stale).map(String::as_str).collect();
    let seconds = staleness.as_secs();
    if up == 0 {
        return Err(CheckError::After("hosts"));
    }
    if stale.is_empty() {
        return Ok(Finding::ok(format!("all hosts that are up reported within {seconds} s")));
    }
    let found = format!("{} of {up} sent no report for {seconds} s: {}", stale.len(), list(stale.iter()));
    let remedy = "see whether RQD runs there and whether Cuebot takes its reports";
    Ok(if stale.len() == up { Finding::failed(found, remedy) } else { Finding::warning(found, remedy) })
}

pub(super) async fn counters(session: &mut Session, farm: &Selected) -> Found {
    let Farm { shows, facilities, .. } = known(farm)?;
    let mut tables: BTreeMap<&str, usize> = BTreeMap::new();
    for wrong in find_wrong_counters(&mut *session, shows).await? {
        *tables.entry(wrong.row.table.as_str()).or_default() += 1;
    }
    let hosts = find_wrong_hosts(session, facilities).await?;
    let mut wrong = Vec::new();
    if !tables.is_empty() {
        wrong.push(list(tables.iter().map(|(table, rows)| format!("{rows} of {table}"))));
    }
    if !hosts.is_empty() {
        let names = list(hosts.iter().map(|(name, _)| name));
        wrong.push(format!("what is idle on {}: {names}", counted(hosts.len(), "host")));
    }
    if wrong.is_empty() {
        return Ok(Finding::ok("all say what the procs hold"));
    }
    let remedy = "a running scheduler puts right the counters of its shows and what is idle on hosts, every \
                  accounting.recompute_interval";
    Ok(Finding::warning(format!("do not say what the procs hold: {}", wrong.join("; ")), remedy))
}

/// Counters of waiting frames, which nothing but a trigger writes.
pub(super) async fn waiting_counts(session: &mut Session, farm: &Selected) -> Found {
    let (mut too_low, mut too_high, mut jobs) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut layers: Vec<String> = Vec::new();
    for row in db::waiting_counts(session, &[], &known(farm)?.shows).await? {
        let LayerCount { job_name, layer_name, count, frames, job_count, job_frames, .. } = &row;
        if !row.is_right() {
            let wrong = if count < frames { &mut too_low } else { &mut too_high };
            wrong.push(format!("{job_name}/{layer_name} says {count}, {frames} wait"));
            layers.push(row.layer.to_string());
        }
        if job_count != job_frames {
            jobs.insert(row.job.to_string(), format!("{job_name} says {job_count}, {job_frames} wait"));
        }
    }
    let (jobs, of_jobs): (Vec<String>, Vec<String>) = jobs.into_iter().unzip();
    let found = told([
        ("too low, nothing is booked of what they hide", &too_low),
        ("too high, hosts are planned for nothing", &too_high),
        ("of whole jobs", &of_jobs),
    ]);
    Ok(Finding::warning_of(found, "all say how many frames wait", recount(&layers, &jobs)))
}

/// Sets counters anew: once their rows are held, every change of a frame is in them or comes after.
fn recount(layers: &[String], jobs: &[String]) -> String {
    let of_table = |(table, key, ids): (&str, &str, &[String])| {
        let ids = texts(ids);
        format!(
            "BEGIN; SELECT FROM {table} WHERE {key} IN ({ids}) ORDER BY {key} FOR UPDATE; \
             UPDATE {table} SET int_waiting_count = (SELECT count(*) FROM frame WHERE frame.{key} = {table}.{key} AND \
             frame.str_state = 'WAITING') WHERE {key} IN ({ids}); COMMIT"
        )
    };
    let tables = [("layer_stat", "pk_layer", layers), ("job_stat", "pk_job", jobs)];
    let statements: Vec<String> = tables.into_iter().filter(|(.., ids)| !ids.is_empty()).map(of_table).collect();
    format!(
        "a trigger only adds and subtracts, so neither retries nor restarts put them right; as the owner of the \
         tables{}: {}",
        first(layers.len().max(jobs.len())),
        statements.join("; ")
    )
}

pub(super) async fn limits(session: &mut Session, farm: &Selected) -> Found {
    let mut limits: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for link in db::deleted_limits(session, &[], &known(farm)?.shows).await? {
        limits.entry(link.limit.into()).or_default().push(format!("{}/{}", link.job_name, link.layer_name));
    }
    if limits.is_empty() {
        return Ok(Finding::ok("every limit that a layer is bound to exists"));
    }
    let each = limits.iter().map(|(limit, layers)| format!("{} ({limit})", list(layers)));
    let found = format!("bound to a deleted limit, which holds nothing back: {}", list(each));
    let limits: Vec<String> = limits.into_keys().collect();
    let remedy = format!(
        "bind the layers to another limit, or to none; as the owner of the tables{}: DELETE FROM layer_limit WHERE \
         pk_limit_record IN ({})",
        first(limits.len()),
        texts(&limits)
    );
    Ok(Finding::warning(found, remedy))
}

/// What is wrong in several ways, each with the names of what is; empty where nothing is.
fn told<const N: usize>(wrong: [(&str, &Vec<String>); N]) -> String {
    let wrong = wrong.into_iter().filter(|(_, names)| !names.is_empty());
    wrong.map(|(how, names)| format!("{how}: {}", list(names))).collect::<Vec<_>>().join("; ")
}

fn first(all: usize) -> String {
    if all > LISTED_MAX { format!(", for the first {LISTED_MAX}") } else { String::new() }
}

/// As they must be written in a statement; the rest is found by the next look.
fn texts(ids: &[String]) -> String {
    ids.iter().take(LISTED_MAX).map(|id| format!("'{}'", id.replace('\'', "''"))).collect::<Vec<_>>().join(", ")
}

/// Procs that their hosts' reports should have named long since.
pub(super) async fn silent_procs(session: &mut Session, farm: &Selected) -> Found {
    let mut hosts: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut cores = Cores::ZERO;
    let all = db::held(session, &known(farm)?.facilities).await?;
    for held in all.into_iter().filter(|held| held.holder == Holder::Silent) {
        let (procs, longest) = hosts.entry(held.host_name).or_default();
        *procs += held.procs;
        *longest = (*longest).max(held.silent_seconds);
        cores += held.amounts.cores;
    }
    if hosts.is_empty() {
        return Ok(Finding::ok("every host that reports names what its procs run"));
    }
    let procs = usize::try_from(hosts.values().map(|(procs, _)| procs).sum::<i64>()).unwrap_or_default();
    let hosts = hosts.iter().map(|(host, (procs, longest))| format!("{procs} on {host} for {} min", longest / 60));
    let found =
        format!("no report names {} any more, {cores} cores held by nothing: {}", counted(procs, "proc"), list(hosts));
    Ok(Finding::warning(
        found,
        "a running scheduler asks these hosts and gives back what they do not run: soon after an outage that it saw, \
         else behind Cuebot's own sweep (after 5 min or more)",
    ))
}

pub(super) async fn frameless_procs(session: &mut Session, farm: &Selected) -> Found {
    let procs = db::frameless_procs(session, &known(farm)?.facilities, None).await?;
    let cores: Cores = procs.iter().map(|proc| proc.reserved.cores).sum();
    let told = procs.iter().map(|proc| format!("{} on {} for {} min", proc.proc, proc.host, proc.silent_seconds / 60));
    if procs.is_empty() {
        return Ok(Finding::ok("every proc runs a frame, or did so until just now"));
    }
    let found =
        format!("{} without a frame, {cores} cores held by nothing: {}", counted(procs.len(), "proc"), list(told));
    Ok(Finding::warning(
        found,
        "a running scheduler gives up those of its shows that their hosts do not run; see whether Cuebot's \
         maintenance runs, which does so for all shows",
    ))
}

/// Who schedules which show, by the flag and by our clusters.
pub(super) fn owners(farm: &Farm) -> Finding {
    if farm.rows.shows.iter().all(|show| show.is_scheduler_managed.is_none()) {
        return Finding::ok("the schema has no flag; Cuebot's exclusion list decides");
    }
    let names = |is_ours: bool, is_flagged: bool| -> Vec<&str> {
        let shows = shows(&farm.clusters, &farm.rows, is_ours, is_flagged).filter(|show| may_have_work(show));
        shows.map(|show| show.name.as_str()).collect()
    };
    let (stranded, contested) = (names(false, true), names(true, false));
    let (mut found, mut remedies) = (Vec::new(), Vec::new());
    if !stranded.is_empty() {
        found.push(format!("flagged for a scheduler and not served by this one: {}", list(&stranded)));
        remedies.push("serve them with another scheduler, or give them back with cueadmin -scheduler-managed SHOW off");
    }
    if !contested.is_empty() {
        found.push(format!("served here and not flagged, so that Cuebot books them too: {}", list(&contested)));
        remedies.push("hand them over with cueadmin -scheduler-managed SHOW on");
    }
    let all_is_well = format!("{} flagged and served", counted(farm.shows.len(), "show"));
    Finding::warning_of(found.join("; "), &all_is_well, remedies.join("; "))
}

pub(super) async fn foreign_planner(store: Option<&Store>, may_book_beside: bool) -> Found {
    let store = store.ok_or(CheckError::After("schema"))?;
    if store.is_standby() {
        // Its locks are held at the primary, and are seen only there.
        return Err(CheckError::After("server"));
    }
    let is_active = bounded(store.foreign_planner_active()).await?;
    let remedy = "switch Cuebot's planner off, or set scheduler.beside_maestro to book if its shows are not these";
    Ok(match (is_active, may_book_beside) {
        (false, _) => Finding::ok("Cuebot's own planner is not active"),
        (true, true) => Finding::warning(
            "Cuebot's own planner is active, and the settings say to book beside it",
            "make sure that its shows are not these",
        ),
        (true, false) => Finding::failed("Cuebot's own planner is active: nothing would be booked", remedy),
    })
}
