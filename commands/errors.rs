//! What is wrong with a call, told before or instead of doing it.

use std::collections::BTreeMap;

use cue_scheduler::db::MissingPrivilege;

/// Well-formed flags and settings that make no sense, here or together; the same again cannot succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("{flag} is not for the demo, which brings its own farm and takes all of it")]
    NotForDemo { flag: &'static str },
    #[error("a demo without hosts runs nothing; --hosts and --agents are both 0")]
    NoHosts,
    #[error("--update asks before it changes a file, and there is no terminal to ask on; --yes says it may")]
    NobodyToAsk,
    #[error("--check needs the properties file of a Cuebot: no show of this database has a scheduler flag")]
    NoFileToCheck,
    #[error("config init asks questions and there is no terminal; answer with flags and --yes")]
    NoTerminal,
    #[error("{0} exists; --force writes over it")]
    Exists(String),
    #[error("no home folder is known to put the file in; name a file")]
    NoHome,
    /// A show and tag that lead to more than one facility, so that nobody can tell which one is meant.
    #[error("Alloc tag requires a valid facility: {show}:{tag} is in the facilities {}", facilities.join(", "))]
    FacilityNeeded { show: String, tag: String, facilities: Vec<String> },
}

/// `--verify` with a role that may not book.
#[derive(Debug, thiserror::Error)]
#[error("cannot verify bookings: the role {user} lacks {rights} (42501)")]
pub(crate) struct RightsMissing {
    user: String,
    rights: String,
}

impl RightsMissing {
    /// `INSERT on proc; SELECT, UPDATE on frame, host`.
    pub(crate) fn of(missing: &[MissingPrivilege]) -> Option<Self> {
        let user = missing.first()?.user.clone();
        let mut tables: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for row in missing {
            tables.entry(row.privileges.join(", ")).or_default().push(&row.table);
        }
        let rights = tables.iter().map(|(rights, tables)| format!("{rights} on {}", tables.join(", ")));
        Some(Self { user, rights: rights.collect::<Vec<_>>().join("; ") })
    }
}

/// A name that does not lead to one thing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOne {
    #[error("there is no {kind} \"{name}\"{}", .extra)]
    Unknown { kind: &'static str, name: String, extra: &'static str, alike: Vec<String> },
    #[error("\"{name}\" is the beginning of several {kind}s")]
    Several { kind: &'static str, name: String, names: Vec<String> },
    #[error("host \"{name}\" is in no facility of the selected clusters")]
    Elsewhere { name: String },
}

impl NotOne {
    /// What could have been meant.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Unknown { alike, .. } => alike,
            Self::Several { names, .. } => names,
            Self::Elsewhere { .. } => &[],
        }
    }
}
