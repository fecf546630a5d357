//! Cutting a plan's bookings into transactions.

use std::collections::{HashMap, VecDeque};

use crate::model::{BookingRequest, JobId};

/// A plan's bookings, cut into transactions one after the other, so that each can be as large as the
/// ones before it have shown to be right.
///
/// All requests of a host land in one chunk, so no two chunks want each other's host rows. Hosts that
/// start the same job stay neighbours, as every start of a job goes through that job's one counter row.
/// The order of requests within a chunk is the order given, so what is cut off for want of room is the
/// last.
#[derive(Debug)]
pub struct Chunks {
    hosts: VecDeque<Vec<(usize, BookingRequest)>>,
}

impl Chunks {
    #[must_use]
    pub fn of(requests: Vec<BookingRequest>) -> Self {
        Self { hosts: by_job_and_host(requests).into() }
    }

    /// The next chunk of about `frames_max` frames; more only when one host alone has more.
    pub fn next(&mut self, frames_max: usize) -> Option<Vec<BookingRequest>> {
        let mut chunk = self.hosts.pop_front()?;
        while let Some(host) = self.hosts.pop_front_if(|host| chunk.len() + host.len() <= frames_max) {
            chunk.extend(host);
        }
        chunk.sort_unstable_by_key(|(position, _)| *position);
        Some(chunk.into_iter().map(|(_, request)| request).collect())
    }
}

/// Cuts `requests` into chunks of about `frames_max` frames, see [`Chunks`].
#[must_use]
pub fn chunk(requests: Vec<BookingRequest>, frames_max: usize) -> Vec<Vec<BookingRequest>> {
    let mut chunks = Chunks::of(requests);
    std::iter::from_fn(|| chunks.next(frames_max)).collect()
}

/// The requests of each host with their positions; hosts ordered by the job they serve first.
fn by_job_and_host(requests: Vec<BookingRequest>) -> Vec<Vec<(usize, BookingRequest)>> {
    let mut jobs: HashMap<JobId, usize> = HashMap::new();
    let mut position_of_host = HashMap::new();
    let mut hosts: Vec<(usize, Vec<(usize, BookingRequest)>)> = Vec::new();
    for (position, request) in requests.into_iter().enumerate() {
        let next_job = jobs.len();
        let job = *jobs.entry(request.frame.job.clone()).or_insert(next_job);
        let host = *position_of_host.entry(request.host.clone()).or_insert(hosts.len());
        if host == hosts.len() {
            hosts.push((job, Vec::new()));
        }
        hosts[host].1.push((position, request));
    }
    // Stable: among the hosts of one job the order of the plan stays.
    hosts.sort_by_key(|(job, _)| *job);
    hosts.into_iter().map(|(_, requests)| requests).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::booking::testing::request;

    fn cut(requests: &[(&str, &str)], frames_max: usize) -> Vec<Vec<i32>> {
        let requests =
            requests.iter().zip(0..).map(|((host, job), number)| request(number, host, job)).collect::<Vec<_>>();
        chunk(requests, frames_max).iter().map(|chunk| chunk.iter().map(|r| r.frame.number).collect()).collect()
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
    fn nothing_makes_no_chunk() {
        assert_eq!(cut(&[], 100), Vec::<Vec<i32>>::new());
    }
}
