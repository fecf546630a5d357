//! The words for what the database says beside the snapshot: frames, procs, counters and hosts' books.

use super::nobody::{GivenBackBy, HeldByNobody, Holdings};
use super::numbers::{age, count, some_of};
use super::words::over;
use crate::db::{FoundFrame, FoundProc, FramelessProc, HeldProc, HostLedger, LayerChunks, LayerCount, OrderedRedirect};
use crate::model::Host;
use crate::rqd::unrendered_numbers;
use crate::scheduler::OVERDUE_AFTER;
use crate::units::{Amounts, Cores, listed, number_runs};

/// Frames that a sentence names.
const NAMED_MAX: usize = 8;
/// Runs of numbers that it names.
const RUNS_MAX: usize = 20;

/// `is_served`: by a scheduler with these settings.
pub(super) fn frame_summary(found: &FoundFrame, is_served: bool, depends: Option<&[String]>) -> String {
    let host = found.host.as_deref().unwrap_or("an unknown host");
    let over = over(&found.job_state);
    let runs = found.proc.as_ref().filter(|_| found.state == "RUNNING");
    if let Some(running) = runs.map(|proc| running(host, proc, is_served)) {
        // Its end may be lost although its job is over.
        return over.into_iter().chain([running]).collect::<Vec<_>>().join("; ");
    }
    let is_over = over.is_some();
    let summary = match found.state.as_str() {
        _ if is_over => over.unwrap_or_default(),
        "RUNNING" => format!(
            "its row says RUNNING on {host}, but it has no proc: nothing is booked for it; Cuebot's maintenance puts \
             it back to WAITING, after 5 min or more"
        ),
        "WAITING" => match found.failed_seconds {
            Some(seconds) => format!(
                "it waits for a host; it failed on {host} with exit status {} {} ago, and others are tried first for \
                 queue.retry_elsewhere",
                found.exit_status,
                age(seconds)
            ),
            None => "it waits for a host".to_owned(),
        },
        "DEPEND" => depending(found.depend_count, depends),
        "DEAD" => format!(
            "it died on {host} with exit status {} after {}; retry or eat it",
            found.exit_status,
            count(found.retries, "retry").replace("retrys", "retries")
        ),
        "SUCCEEDED" => format!("it is done, on {host}"),
        "EATEN" => "somebody has eaten it: it counts as done".to_owned(),
        "CHECKPOINT" => format!("it has stopped at a checkpoint on {host}"),
        "SETUP" => "Cuebot is still submitting its job".to_owned(),
        other => format!("it is {other}"),
    };
    let Some(FoundProc { id, reserved, .. }) = &found.proc else { return summary };
    let then = if found.state == "WAITING" && !is_over { format!(": {LEFT_OUT}") } else { String::new() };
    format!("{summary}, and proc {id} on {host} holds {} for it and may run it still{then}", some_of(reserved))
}

/// What a frame in DEPEND waits for, by its count and by the dependencies themselves.
fn depending(said: i64, depends: Option<&[String]>) -> String {
    let names = depends.map(|names| listed(names, NAMED_MAX)).filter(|names| !names.is_empty());
    match (said, names) {
        (0, Some(names)) => format!("its count says that nothing is left that it depends on, but not met are {names}"),
        (0, None) => LEFT_IN_DEPEND.to_owned(),
        (said, None) if depends.is_some() => {
            format!("its count says {} that it depends on, but {LEFT_IN_DEPEND}", count(said, "thing"))
        }
        (said, names) => format!(
            "it waits for {} that it depends on{}; Cuebot puts it to WAITING when the last one is met or dropped",
            count(said, "thing"),
            names.map(|names| format!(" ({names})")).unwrap_or_default()
        ),
    }
}

/// A frame whose dependencies are met or dropped and that was not put to WAITING.
const LEFT_IN_DEPEND: &str = "nothing is left that it depends on, and it was not put to WAITING: Cuebot's recovery of \
                              stuck dependencies clears it, every 10 min where the schema has it (V38); where not, \
                              drop the dependencies of its layer (cueadmin) or of the frame (CueGUI)";

/// A waiting frame that a proc holds.
const LEFT_OUT: &str = "nobody books it until Cuebot has released the proc, or somebody unbooks it";

fn running(host: &str, proc: &FoundProc, is_served: bool) -> String {
    let FoundProc { reserved, sign_seconds, is_reported, is_silent, report_seconds, .. } = proc;
    let (holds, sign) = (some_of(reserved), age(*sign_seconds));
    match report_seconds {
        Some(report) if *is_silent => format!(
            "its rows say RUNNING on {host}, but nothing was heard of it for {sign} although the host reported {} ago: \
             nobody's work holds {holds}; {}",
            age(*report),
            GivenBackBy::show(is_served).gives_back()
        ),
        Some(report) if !is_overdue(*report) => {
            if *is_reported {
                format!("it runs on {host} with {holds}, last heard of {sign} ago")
            } else {
                format!("it was booked on {host} with {holds} {sign} ago, and no report has named it yet")
            }
        }
        report => {
            let report = report.map_or_else(
                || "has never reported".to_owned(),
                |report| format!("itself has not reported for {}", age(report)),
            );
            format!("its rows say RUNNING on {host} with {holds}, but the host {report}: nobody knows whether it runs")
        }
    }
}

/// What failed on a host at once.
pub(super) fn failures(jobs: Option<&[String]>) -> Option<String> {
    let Some(jobs) = jobs else {
        return Some(
            "whether frames failed on it within seconds lately is not known: the rows were not read in time".into(),
        );
    };
    let them = count(jobs.len(), "job");
    (!jobs.is_empty()).then(|| {
        format!(
            "frames of {them} failed on it within seconds a few minutes ago ({}); a running scheduler knows of more, and \
             may let the host rest for it: its metrics page names such hosts (scheduler_failing_hosts)",
            jobs.join(", ")
        )
    })
}

/// What is wrong with the rows of a layer.
pub(super) fn layer_books(
    count: Option<&LayerCount>,
    deleted_limits: &[&str],
    silent: Option<&HeldByNobody>,
) -> Vec<String> {
    let mut books = Vec::new();
    if let Some(LayerCount { count: said, frames, held, .. }) = count {
        books.extend(wrong_count("its count", *said, *frames));
        if *held > 0 {
            let (number, are) = if *held == 1 { ("1".to_owned(), "is") } else { (held.to_string(), "are") };
            books.push(format!("{number} of its waiting frames {are} held by procs and may run still: {LEFT_OUT}"));
        }
    }
    for limit in deleted_limits {
        books.push(format!("it is bound to the limit {limit}, which was deleted: that limit holds nothing back"));
    }
    books.extend(silent.map(HeldByNobody::of_frames));
    books
}

/// Numbers of its range that none of its frames renders.
pub(super) fn unrendered(chunks: &LayerChunks) -> Option<String> {
    let LayerChunks { range, chunk_size, frames, .. } = chunks;
    let missing = unrendered_numbers(range, *chunk_size, frames).filter(|missing| !missing.is_empty())?;
    Some(format!(
        "of its range `{range}` in chunks of {chunk_size}, {} {} in no frame: nobody renders {}; submit {} once more",
        listed(number_runs(&missing), RUNS_MAX),
        if missing.len() == 1 { "is" } else { "are" },
        if missing.len() == 1 { "it" } else { "them" },
        if missing.len() == 1 { "it" } else { "them" }
    ))
}

/// A counter of waiting frames that is wrong, and what comes of it.
pub(super) fn wrong_count(whose: &str, said: i64, frames: i64) -> Option<String> {
    let there = match frames {
        0 => "there is none".to_owned(),
        1 => "there is 1".to_owned(),
        frames => format!("there are {frames}"),
    };
    let then = match said {
        said if said == frames => return None,
        said if said > frames => "hosts are planned for nothing",
        ..=0 if frames > 0 => "nothing is booked of them",
        ..=0 => "it hides the next ones",
        _ => "the rest is not booked",
    };
    Some(format!("{whose} says {}, {there}: {then}", count(said, "waiting frame")))
}

/// What makes counters and links right again.
pub(super) fn books_remedies(count: Option<&LayerCount>, deleted_limits: &[&str]) -> Vec<String> {
    let mut remedies = Vec::new();
    if count.is_some_and(|count| !count.is_right()) {
        remedies.push("set its count right: `cue-scheduler check-db` prints how (waiting-counts)".to_owned());
    }
    if !deleted_limits.is_empty() {
        remedies.push("unbind it from the deleted limit: `cue-scheduler check-db` prints how (limits)".to_owned());
    }
    remedies
}

/// What is wrong with a host's books.
pub(super) fn host_books(ledger: &HostLedger, frameless: &[FramelessProc]) -> Vec<String> {
    let mut books = Vec::new();
    let mut tell = |what: &str, amounts: Amounts, then: &str| {
        books.extend(amounts.has_some().then(|| format!("{what} {}{then}", some_of(&amounts))));
    };
    // Its owner's work draws on other rows as well.
    if !ledger.has_local_work {
        let then = ", which its row says are taken; a running scheduler gives them back";
        tell("nobody holds", ledger.held_by_nobody(), then);
        let then = ", which its row says are idle; a running scheduler takes them off";
        tell("procs hold", ledger.idle_by_the_row_alone(), then);
    }
    let then = " more than it has; nothing of that is booked until enough of them end";
    tell("it is overbooked: procs hold", ledger.overbooked(), then);
    for proc in frameless {
        let FramelessProc { proc, reserved, silent_seconds, .. } = proc;
        books.push(format!(
            "nobody's work holds {}: proc {proc} runs nothing, last heard of {} ago; Cuebot's maintenance or a running \
             scheduler gives it up",
            some_of(reserved),
            age(*silent_seconds)
        ));
    }
    books
}

/// The load of the minute before a host's last report, and how many of the idle cores are not handed out for it.
pub(super) fn load(host: &Host, busy: Cores) -> Option<String> {
    let reported = host.load.reported;
    (reported > Cores::ZERO).then(|| match busy {
        Cores::ZERO => format!("{reported} in the minute before its last report"),
        busy => format!(
            "{reported} in the minute before its last report: {busy} of the idle cores are not handed out \
             (queue.host_load)"
        ),
    })
}

/// Procs of a host that run their frames no more, or should not; `report`: seconds since its last report.
pub(super) fn other_procs(procs: &[HeldProc], report: i64, holdings: &Holdings<'_>) -> Vec<String> {
    let mut books = Vec::new();
    let (silent, strays): (Vec<&HeldProc>, Vec<&HeldProc>) =
        procs.iter().partition(|proc| proc.frame_state == "RUNNING");
    for is_served in [true, false] {
        let served = |proc: &&&HeldProc| proc.show_id.as_ref().is_some_and(|show| holdings.serves(show)) == is_served;
        let silent: Vec<&&HeldProc> = silent.iter().filter(served).collect();
        let Some(longest) = silent.iter().map(|proc| proc.silent_seconds).max() else { continue };
        let amounts: Amounts = silent.iter().map(|proc| proc.reserved).sum();
        let mut names: Vec<String> =
            silent.iter().take(NAMED_MAX).map(|proc| format!("{}/{}", proc.job, proc.frame)).collect();
        if silent.len() > NAMED_MAX {
            names.push(format!("{} more", silent.len() - NAMED_MAX));
        }
        let (held, names, then) = (some_of(&amounts), names.join(", "), GivenBackBy::show(is_served).gives_back());
        let silence = format!("for {} although the host reported {} ago", age(longest), age(report));
        books.push(format!("nobody's work holds {held}: nothing was heard of {names} {silence}; {then}"));
    }
    for proc in strays {
        let (HeldProc { proc, job, frame, frame_state, .. }, holds) = (proc, some_of(&proc.reserved));
        let state = format!("which is {frame_state} and may run still");
        books.push(format!("proc {proc} holds {holds} for {job}/{frame}, {state}: {LEFT_OUT}"));
    }
    books
}

/// Whether a host that reported so many seconds ago should have done so again since.
fn is_overdue(report: i64) -> bool {
    report > OVERDUE_AFTER.as_secs().cast_signed()
}

/// Said of what runs on a host that does not report, `report` being seconds since it last did.
pub(super) fn unheard(report: i64) -> Option<String> {
    is_overdue(report).then(|| {
        format!("the host has not reported for {}: nobody knows whether what runs here still runs", age(report))
    })
}

/// What an operator has ordered a proc to do.
pub(super) fn redirect(order: &OrderedRedirect) -> String {
    let OrderedRedirect { proc, destination, is_group, held, job, frame, ordered_seconds } = order;
    let holds = match (job, frame) {
        (Some(job), Some(frame)) => format!("{job}/{frame}"),
        _ => format!("proc {proc}"),
    };
    let kind = if *is_group { "group" } else { "job" };
    format!(
        "{} that {holds} holds go to {kind} {destination} when it ends, ordered by an operator {} ago; a running \
         scheduler keeps them for it until some seconds after",
        some_of(held),
        age(*ordered_seconds)
    )
}
