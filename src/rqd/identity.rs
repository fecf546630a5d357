//! Whether an agent is the one that a host's name means. Pure, but for who is asked.
//!
//! Names move: to a new machine, while another agent answers where the old one was. An agent says under which
//! name it reports to Cuebot. That name need not be the host's own, as hosts are named by address or by alias;
//! but one that is another host's means that its frames would go to the wrong machine.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;

/// Hosts of the farm that are called like this, whole or up to the first dot; `None` while nobody can say.
type Lookup = dyn Fn(String) -> BoxFuture<'static, Option<Vec<String>>> + Send + Sync;

/// Who knows all hosts of the farm.
#[derive(Clone, Default)]
pub(super) struct HostNames(Option<Arc<Lookup>>);

impl fmt::Debug for HostNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "HostNames" } else { "no HostNames" })
    }
}

impl HostNames {
    pub(super) fn new(
        lookup: impl Fn(String) -> BoxFuture<'static, Option<Vec<String>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(lookup)))
    }

    /// `None`: nobody can say now.
    pub(super) async fn like(&self, name: &str) -> Option<Vec<String>> {
        match &self.0 {
            Some(lookup) => lookup(name.to_owned()).await,
            None => Some(Vec::new()),
        }
    }
}

/// Up to the first dot, unless it is an address; in lower case as names are compared.
fn short(name: &str) -> String {
    let name = name.to_lowercase();
    let is_address = name.parse::<IpAddr>().is_ok();
    match name.split_once('.') {
        Some((short, _)) if !is_address => short.to_owned(),
        _ => name,
    }
}

/// Whether the agent of `host` may report under this name and be it.
pub(super) fn is_name_of(host: &str, reported: &str) -> bool {
    short(host) == short(reported)
}

/// Whether the name is that of another of these hosts: of one that is called exactly so or, where the
/// host itself is not called like this, of one that is up to the first dot.
pub(super) fn is_another(host: &str, reported: &str, hosts: &[String]) -> bool {
    let is_exactly = |name: &str| name.to_lowercase() == reported.to_lowercase();
    if is_exactly(host) {
        return false;
    }
    let mut others = hosts.iter().filter(|name| *name != host);
    if is_name_of(host, reported) {
        others.any(|name| is_exactly(name))
    } else {
        others.any(|name| is_name_of(name, reported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_another_host_is_anothers() {
        let farm = ["node-1", "node-2.studio.com", "10.0.0.5", "Node-7"].map(str::to_owned);
        let cases = [
            ("node-1", "node-1", false),
            ("node-1", "NODE-1.studio.com", false),
            ("node-1", "node-2", true),
            ("node-1", "node-2.studio.com", true),
            ("node-1", "node-2.elsewhere.com", true),
            ("node-1", "node-7", true),
            ("node-1", "node-3", false),
            ("node-1", "", false),
            // Hosts that are named by address report under names.
            ("10.0.0.5", "node-5", false),
            ("10.0.0.5", "10.0.0.6", false),
            ("10.0.0.5", "node-1", true),
            ("10.0.0.9", "10.0.0.5", true),
        ];
        for (host, reported, expected) in cases {
            assert_eq!(is_another(host, reported, &farm), expected, "{host} reports as {reported}");
        }
    }

    #[test]
    fn a_name_that_another_host_has_exactly_is_not_shortened() {
        let farm = ["node-1.a.com", "node-1.b.com"].map(str::to_owned);
        assert!(is_another("node-1.a.com", "node-1.b.com", &farm));
        assert!(!is_another("node-1.a.com", "node-1", &farm));
        assert!(!is_another("node-1.a.com", "Node-1.A.com", &farm));
    }
}
