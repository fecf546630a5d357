//! Cutting a plan's bookings into transactions.

use std::collections::{HashMap, VecDeque};

use crate::model::{BookingRequest, JobId};

/// A plan's bookings, cut into transactions one after the other, so that each can be as large as the
/// ones before it have shown to be right.
///
/// All requests of a host land in one chunk, so no two chunks want each other's host rows. Hosts that
/// start the same job stay neighbours, as every start of a job goes through that job's one counter row;
/// a chunk rather ends with a job than in the middle of one, since the next would wait for that row.
/// The order of requests within a chunk is the order given, so what is cut off for want of room is the
/// last.
#[derive(Debug)]
pub(crate) struct Chunks {
    hosts: VecDeque<Host>,
}

/// What is to start on one host.
#[derive(Debug)]
struct Host {
    /// The first job that it serves.
    job: usize,
    requests: Vec<(usize, BookingRequest)>,
}

impl Chunks {
    pub(crate) fn of(requests: Vec<BookingRequest>) -> Self {
        Self { hosts: by_job_and_host(requests).into() }
    }

    /// The next chunk of about `frames_max` frames; more only when one host alone has more.
    pub(crate) fn next(&mut self, frames_max: usize) -> Option<Vec<BookingRequest>> {
        let hosts = self.hosts_of_next(frames_max);
        if hosts == 0 {
            return None;
        }
        let mut chunk: Vec<_> = self.hosts.drain(..hosts).flat_map(|host| host.requests).collect();
        chunk.sort_unstable_by_key(|(position, _)| *position);
        Some(chunk.into_iter().map(|(_, request)| request).collect())
    }

    fn hosts_of_next(&self, frames_max: usize) -> usize {
        let (mut hosts, mut frames) = (0, 0);
        // The last end of a job that leaves the chunk at least half full.
        let mut end_of_job = None;
        for (number, host) in self.hosts.iter().enumerate() {
            frames += host.requests.len();
            if number > 0 && frames > frames_max {
                return end_of_job.unwrap_or(hosts);
            }
            hosts = number + 1;
            let is_end = self.hosts.get(hosts).is_none_or(|next| next.job != host.job);
            if is_end && frames >= frames_max / 2 {
                end_of_job = Some(hosts);
            }
        }
        hosts
    }
}

/// The requests of each host with their positions; hosts ordered by the job they serve first.
fn by_job_and_host(requests: Vec<BookingRequest>) -> Vec<Host> {
    let mut jobs: HashMap<JobId, usize> = HashMap::new();
    let mut position_of_host = HashMap::new();
    let mut hosts: Vec<Host> = Vec::new();
    for (position, request) in requests.into_iter().enumerate() {
        let next_job = jobs.len();
        let job = *jobs.entry(request.frame.job.clone()).or_insert(next_job);
        let host = *position_of_host.entry(request.host.clone()).or_insert(hosts.len());
        if host == hosts.len() {
            hosts.push(Host { job, requests: Vec::new() });
        }
        hosts[host].requests.push((position, request));
    }
    // Stable: among the hosts of one job the order of the plan stays.
    hosts.sort_by_key(|host| host.job);
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::booking::testing::request;

    fn cut(requests: &[(&str, &str)], frames_max: usize) -> Vec<Vec<i32>> {
        let requests =
            requests.iter().zip(0..).map(|((host, job), number)| request(number, host, job)).collect::<Vec<_>>();
        let mut chunks = Chunks::of(requests);
        let chunks = std::iter::from_fn(|| chunks.next(frames_max));
        chunks.map(|chunk| chunk.iter().map(|r| r.frame.number).collect()).collect()
    }

    #[test]
    fn a_host_stays_whole_and_the_order_stays() {
        let requests = [("a", "j"), ("b", "j"), ("a", "j"), ("c", "j"), ("b", "j")];
        assert_eq!(cut(&requests, 4), [vec![0, 1, 2, 4], vec![3]]);
        assert_eq!(cut(&requests, 2), [vec![0, 2], vec![1, 4], vec![3]]);
    }

    #[test]
    fn a_host_larger_than_a_chunk_is_not_split() {
        assert_eq!(cut(&[("a", "j"), ("a", "j"), ("a", "j"), ("b", "j")], 2), [vec![0, 1, 2], vec![3]]);
    }

    #[test]
    fn hosts_of_one_job_share_chunks() {
        let requests = [("a", "one"), ("b", "two"), ("c", "one"), ("d", "two")];
        assert_eq!(cut(&requests, 2), [vec![0, 2], vec![1, 3]]);
    }

    #[test]
    fn a_chunk_ends_with_a_job_when_it_is_half_full_by_then() {
        let of = |frames: usize, job: &'static str| {
            ["a", "b", "c", "d", "e", "f"]
                .map(|host| host.to_owned() + job)
                .into_iter()
                .take(frames)
                .map(move |host| (host, job))
        };
        let requests: Vec<(String, &str)> = of(3, "j").chain(of(3, "k")).chain(of(6, "l")).collect();
        let requests: Vec<(&str, &str)> = requests.iter().map(|(host, job)| (host.as_str(), *job)).collect();
        let lengths = |frames_max| cut(&requests, frames_max).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(5), [3, 3, 5, 1]);
        assert_eq!(lengths(4), [3, 3, 4, 2]);
        assert_eq!(lengths(7), [6, 6]);
        assert_eq!(lengths(100), [12]);
    }

    #[test]
    fn nothing_makes_no_chunk() {
        assert_eq!(cut(&[], 100), Vec::<Vec<i32>>::new());
    }
}
