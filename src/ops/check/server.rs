//! The server and the way to it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::finding::{CheckError, Finding, Found};
use crate::db::check::{Connections, Server, Session, is_pooled_by_transaction};
use crate::db::{ConnectSettings, Encryption, Way};

/// PostgreSQL 13: our statements are tested from there on.
const VERSION_MIN: i32 = 130_000;
const PINGS: u32 = 100;
const PINGS_LIMIT: Duration = Duration::from_secs(2);
/// A booking of hundreds of frames is some fifteen statements, one after the other.
const LATENCY_MUCH: Duration = Duration::from_millis(20);
const CLOCK_LOOKS: u32 = 5;
/// Start times told to agents come from this machine, all other times from the database.
const CLOCK_MUCH: Duration = Duration::from_secs(2);
const CLOCK_TOO_MUCH: Duration = Duration::from_mins(1);
/// Beside the pool: one that listens for releases, one that asks for a sign of life, as long as the scheduler
/// lives.
const CONNECTIONS_BESIDE_POOL: i64 = 2;
/// A session that waits longer waits for a proxy that has no connection left.
const PROXY_LIMIT: Duration = Duration::from_secs(3);

pub(super) async fn tls(session: &mut Session) -> Found {
    let way = session.way();
    Ok(tls_finding(way, &session.tls_version().await?))
}

/// `version`: of the protocol, as the server names it. A proxy that encrypts has none to name.
fn tls_finding(way: Way, version: &str) -> Finding {
    let told = way.to_string();
    let has_version = !version.is_empty() && !matches!(way.encryption, Encryption::None);
    let found = if has_version { told.replacen("encrypted", version, 1) } else { told };
    let of_authority = "set database.tls to verify-full, and database.tls_root_certificate if your own authority signs";
    match way.encryption {
        _ if way.is_local => Finding::ok(found),
        Encryption::OfAuthority | Encryption::OfHost => Finding::ok(found),
        Encryption::Unverified => Finding::warning(found, of_authority),
        Encryption::None => Finding::warning(found, format!("let the server offer TLS, and {of_authority}")),
    }
}

pub(super) async fn version(session: &mut Session) -> Found {
    let Server { version, number, is_standby, is_read_only } = session.server().await?;
    let found = format!("PostgreSQL {version}");
    Ok(match (number < VERSION_MIN, is_standby, is_read_only) {
        (true, ..) => Finding::failed(found, "upgrade PostgreSQL to 13 or later"),
        (_, true, _) => {
            Finding::failed(format!("{found}, a standby that takes no writes"), "let database.db_host name the primary")
        }
        // Those that write say so when they begin.
        (.., true) => Finding::ok(format!("{found}, where transactions are read-only unless they say otherwise")),
        _ => Finding::ok(found),
    })
}

pub(super) async fn latency(session: &mut Session) -> Found {
    let began = Instant::now();
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let asked = Instant::now();
        session.ping().await?;
        times.push(asked.elapsed());
        if began.elapsed() > PINGS_LIMIT {
            break;
        }
    }
    Ok(latency_finding(times))
}

fn latency_finding(mut times: Vec<Duration>) -> Finding {
    times.sort_unstable();
    let (half, most) = (share(&times, 50), share(&times, 99));
    let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let found = format!("p50 {}, p99 {}, of {} pings", milliseconds(half), milliseconds(most), times.len());
    if half > LATENCY_MUCH {
        return Finding::warning(found, "run the scheduler near the database: booking waits for each answer");
    }
    Finding::ok(found)
}

/// The smallest time that so many per cent of all do not exceed.
fn share(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(super) async fn clock(session: &mut Session) -> Found {
    let mut best: Option<(Duration, f64)> = None;
    for _ in 0..CLOCK_LOOKS {
        let (before, asked) = (SystemTime::now(), Instant::now());
        let theirs = session.clock().await?;
        let taken = asked.elapsed();
        let ours = before.duration_since(UNIX_EPOCH).unwrap_or_default() + taken / 2;
        if best.is_none_or(|(shortest, _)| taken < shortest) {
            best = Some((taken, theirs - ours.as_secs_f64()));
        }
    }
    let (taken, ahead) = best.unwrap_or_default();
    Ok(clock_finding(ahead, taken))
}

/// How far the server's clock is ahead, seen through an answer that took so long.
fn clock_finding(ahead: f64, taken: Duration) -> Finding {
    let uncertain = taken.as_secs_f64() / 2.0;
    let word = if ahead < 0.0 { "behind" } else { "ahead" };
    let found = format!("the database is {:.3} s {word}, give or take {uncertain:.3} s", ahead.abs());
    let least = (ahead.abs() - uncertain).max(0.0);
    let remedy = "let both machines keep time with NTP";
    if least > CLOCK_TOO_MUCH.as_secs_f64() {
        Finding::failed(found, remedy)
    } else if least > CLOCK_MUCH.as_secs_f64() {
        Finding::warning(found, remedy)
    } else {
        Finding::ok(found)
    }
}

pub(super) async fn connections(session: &mut Session, pool_size: u32, instances: u32) -> Found {
    let needed = (i64::from(pool_size) + CONNECTIONS_BESIDE_POOL) * i64::from(instances);
    Ok(connections_finding(needed, &session.connections().await?))
}

fn connections_finding(needed: i64, connections: &Connections) -> Finding {
    let Connections { allowed, of_role, of_database, others } = *connections;
    let bounds = [allowed, of_role, of_database].into_iter().filter(|bound| *bound >= 0);
    let bound = bounds.min().unwrap_or_default();
    let found = format!("{needed} needed, {bound} allowed, {others} in use by others");
    let remedy = "lower database.pool_size, or raise max_connections or the limit of the user or database";
    let finding = if needed > bound { Finding::failed } else { Finding::warning };
    if needed > bound || needed + others > bound { finding(found, remedy.to_owned()) } else { Finding::ok(found) }
}

pub(super) async fn pooling_proxy(session: &mut Session, settings: &ConnectSettings) -> Found {
    let look = is_pooled_by_transaction(settings);
    let is_pooled = match tokio::time::timeout(PROXY_LIMIT, look).await {
        Ok(is_pooled) => is_pooled?,
        Err(_) => return Err(CheckError::NotAsked("a second session got no answer in time")),
    };
    session.ping().await?;
    if is_pooled {
        let remedy = "connect to PostgreSQL itself, or let the proxy pool by session: schedulers hold session locks";
        return Ok(Finding::failed("a proxy that pools by transaction", remedy));
    }
    Ok(Finding::ok("none: sessions keep their server process"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn status(finding: Finding) -> (Status, String) {
        (finding.status, finding.found)
    }

    #[test]
    fn latency_is_judged_by_the_half() {
        let times = |slow: u64| (1..=99).map(|_| Duration::from_millis(slow)).chain([Duration::from_secs(1)]).collect();
        assert_eq!(
            status(latency_finding(times(1))),
            (Status::Ok, "p50 1.00 ms, p99 1.00 ms, of 100 pings".to_owned())
        );
        assert_eq!(latency_finding(times(21)).status, Status::Warning);
        assert_eq!(share(&[], 50), Duration::ZERO);
        assert_eq!(share(&[Duration::from_secs(1)], 99), Duration::from_secs(1));
    }

    #[test]
    fn what_can_be_listened_to_or_answered_by_others_is_a_warning() {
        let cases = [
            (Encryption::None, true, Status::Ok, "not encrypted, and stays on this machine"),
            (Encryption::None, false, Status::Warning, "not encrypted"),
            (Encryption::Unverified, true, Status::Ok, "TLSv1.3, certificate not verified, and stays on this machine"),
            (Encryption::Unverified, false, Status::Warning, "TLSv1.3, certificate not verified"),
            (Encryption::OfAuthority, false, Status::Ok, "TLSv1.3, certificate verified, its name not"),
            (Encryption::OfHost, false, Status::Ok, "TLSv1.3, certificate and name verified"),
        ];
        for (encryption, is_local, expected, found) in cases {
            let finding = tls_finding(Way { encryption, is_local }, "TLSv1.3");
            assert_eq!(finding.remedy.is_some(), expected == Status::Warning);
            assert_eq!(status(finding), (expected, found.to_owned()));
        }
        let behind_proxy = tls_finding(Way { encryption: Encryption::OfHost, is_local: false }, "");
        assert_eq!(behind_proxy.found, "encrypted, certificate and name verified");
    }

    #[test]
    fn a_clock_is_only_blamed_for_what_is_certain() {
        let second = Duration::from_secs(1);
        assert_eq!(clock_finding(0.4, second).status, Status::Ok);
        assert_eq!(clock_finding(2.4, second).status, Status::Ok);
        let (found_status, found) = status(clock_finding(-2.6, second));
        assert_eq!(found_status, Status::Warning);
        assert_eq!(found, "the database is 2.600 s behind, give or take 0.500 s");
        assert_eq!(clock_finding(90.0, second).status, Status::Failed);
    }

    #[test]
    fn the_least_bound_on_connections_counts() {
        let all = Connections { allowed: 97, of_role: -1, of_database: -1, others: 10 };
        assert_eq!(connections_finding(21, &all).status, Status::Ok);
        assert_eq!(connections_finding(21, &Connections { others: 80, ..all }).status, Status::Warning);
        let all = Connections { allowed: 97, of_role: 20, of_database: -1, others: 0 };
        let (found_status, found) = status(connections_finding(21, &all));
        assert_eq!((found_status, found.as_str()), (Status::Failed, "21 needed, 20 allowed, 0 in use by others"));
    }
}
