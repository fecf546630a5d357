//! Rows that make no sense.

use std::borrow::Cow;

/// A row that could not be used. It is left out, counted, and named once; the farm goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct LeftOutRow {
    pub table: Cow<'static, str>,
    pub id: String,
    /// What is wrong and what to do about it.
    pub problem: String,
}
