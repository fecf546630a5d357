//! The rows that clusters are built from.

use std::collections::BTreeSet;

use super::row::{Columns, Problem};
use super::{Store, StoreError};
use crate::model::{AllocId, FacilityId, LeftOutRow, ShowId, Tag};

/// All shows, and all facilities with their allocations, by name and then id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterRows {
    pub shows: Vec<ShowSubscriptions>,
    pub allocs: Vec<AllocTags>,
    pub left_out: Vec<LeftOutRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowSubscriptions {
    pub id: ShowId,
    pub name: String,
    pub is_active: bool,
    /// Whether the show is flagged for a scheduler; `None` where the schema has no such flag.
    pub is_scheduler_managed: Option<bool>,
    pub has_pending_jobs: bool,
    pub allocs: BTreeSet<AllocId>,
}

/// An allocation with the tags that its hosts carry, or a facility that has no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocTags {
    pub facility: FacilityId,
    pub facility_name: String,
    /// `None` = the facility has no allocation.
    pub alloc: Option<(AllocId, String)>,
    /// The allocation's own tag, and those of type ALLOC on its hosts: renaming the tag of an
    /// allocation does not reach the hosts that carry the old one.
    pub alloc_tags: BTreeSet<Tag>,
    pub manual_tags: BTreeSet<Tag>,
    pub hostname_tags: BTreeSet<Tag>,
    pub hardware_tags: BTreeSet<Tag>,
}

impl Store {
    /// Two statements; rows: the shows, the allocations.
    pub async fn load_cluster_rows(&self) -> Result<ClusterRows, StoreError> {
        let mut loaded = ClusterRows::default();
        let mut reading = self.begin_reading().await?;
        for row in reading.rows("reading shows", sqlx::query(include_str!("sql/cluster_shows.sql"))).await? {
            let row = Columns(&row);
            match decode_show(&row) {
                Ok(show) => loaded.shows.push(show),
                Err(problem) => loaded.left_out.push(row.left_out("show", "pk_show", problem)),
            }
        }
        for row in reading.rows("reading allocations", sqlx::query(include_str!("sql/cluster_allocs.sql"))).await? {
            let row = Columns(&row);
            match decode_alloc(&row) {
                Ok(alloc) => loaded.allocs.push(alloc),
                Err(problem) => loaded.left_out.push(row.left_out("alloc", "pk_alloc", problem)),
            }
        }
        reading.end().await?;
        loaded.shows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        loaded
            .allocs
            .sort_by(|a, b| (&a.facility_name, &a.facility, &a.alloc).cmp(&(&b.facility_name, &b.facility, &b.alloc)));
        Ok(loaded)
    }
}

fn decode_show(row: &Columns<'_>) -> Result<ShowSubscriptions, Problem> {
    Ok(ShowSubscriptions {
        id: row.text("pk_show")?.into(),
        name: row.text("str_name")?,
        is_active: row.flag("b_active")?,
        is_scheduler_managed: row.flag_or_null("b_scheduler_managed")?,
        has_pending_jobs: row.flag("has_pending_jobs")?,
        allocs: row.texts("allocs")?.into_iter().map(AllocId::from).collect(),
    })
}

fn decode_alloc(row: &Columns<'_>) -> Result<AllocTags, Problem> {
    let alloc = match row.text_or_null("pk_alloc")? {
        Some(id) => Some((AllocId::from(id), row.text("alloc_name")?)),
        None => None,
    };
    Ok(AllocTags {
        facility: row.text("pk_facility")?.into(),
        facility_name: row.text("facility_name")?,
        alloc,
        alloc_tags: row.tags("alloc_tags")?,
        manual_tags: row.tags("manual_tags")?,
        hostname_tags: row.tags("hostname_tags")?,
        hardware_tags: row.tags("hardware_tags")?,
    })
}
