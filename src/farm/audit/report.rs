//! What an audit found.

use std::collections::BTreeMap;

use super::rule::AuditRule;

/// Breaches of one rule that are listed; all are counted.
pub const LISTED_PER_RULE_MAX: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct AuditReport {
    /// In the order of the rules; at most [`LISTED_PER_RULE_MAX`] of each.
    pub violations: Vec<Violation>,
    /// All breaches of each rule that was broken, listed or not.
    pub violations_by_rule: BTreeMap<AuditRule, u64>,
    pub violations_total: u64,
    /// Launches of a frame while an earlier one of it still ran somewhere.
    pub double_launches: u64,
    /// Rows whose use is above their burst, cap or limit.
    pub cap_breaches: u64,
    /// By `frame.str_state`.
    pub frames: BTreeMap<String, u64>,
    pub procs: u64,
    /// Procs between the end of their frame and their release.
    pub frameless_procs: u64,
    /// `None` when launches are unknown.
    pub launches: Option<u64>,
}

/// One row that breaks one rule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    pub rule: AuditRule,
    pub table: &'static str,
    /// The row's key.
    pub row: String,
    /// What the row says and what it should.
    pub detail: String,
}

impl AuditReport {
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.violations_total == 0
    }

    /// Frames in this state.
    #[must_use]
    pub fn frames_in(&self, state: &str) -> u64 {
        self.frames.get(state).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, rule: AuditRule, total: u64, listed: impl IntoIterator<Item = (String, String)>) {
        if total == 0 {
            return;
        }
        *self.violations_by_rule.entry(rule).or_default() += total;
        self.violations_total += total;
        self.double_launches += if rule == AuditRule::DoubleLaunch { total } else { 0 };
        self.cap_breaches += if rule.is_cap() { total } else { 0 };
        let listed = listed.into_iter().take(LISTED_PER_RULE_MAX);
        self.violations.extend(listed.map(|(row, detail)| Violation { rule, table: rule.table(), row, detail }));
    }
}
