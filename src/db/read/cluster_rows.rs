//! The rows that clusters are built from.

use std::collections::BTreeSet;

use crate::db::{CommitError, Problem, Result, Row, Source as _, Statement, Store, Tx};
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
    pub has_hosts: bool,
    /// The allocation's own tag, and those of type ALLOC on its hosts: renaming the tag of an
    /// allocation does not reach the hosts that carry the old one.
    pub alloc_tags: BTreeSet<Tag>,
    pub manual_tags: BTreeSet<Tag>,
    pub hostname_tags: BTreeSet<Tag>,
    pub hardware_tags: BTreeSet<Tag>,
}

impl Store {
    /// Two statements; rows: the shows, the allocations.
    pub async fn load_cluster_rows(&self) -> Result<ClusterRows> {
        let mut left_out = Vec::new();
        let mut reading = Tx::reading(self).await?;
        let statement = Statement::new("reading shows", include_str!("../sql/cluster_shows.sql"));
        let mut shows = reading.rows(statement).await?.or_left_out(("show", "pk_show"), &mut left_out, decode_show);
        let statement = Statement::new("reading allocations", include_str!("../sql/cluster_allocs.sql"));
        let mut allocs = reading.rows(statement).await?.or_left_out(("alloc", "pk_alloc"), &mut left_out, decode_alloc);
        reading.commit().await.map_err(CommitError::either)?;
        shows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        allocs
            .sort_by(|a, b| (&a.facility_name, &a.facility, &a.alloc).cmp(&(&b.facility_name, &b.facility, &b.alloc)));
        Ok(ClusterRows { shows, allocs, left_out })
    }
}

fn decode_show(row: &Row<'_>) -> Result<ShowSubscriptions, Problem> {
    Ok(ShowSubscriptions {
        id: row.get("pk_show")?,
        name: row.text("str_name")?,
        is_active: row.get("b_active")?,
        is_scheduler_managed: row.get("b_scheduler_managed")?,
        has_pending_jobs: row.get("has_pending_jobs")?,
        allocs: row.ids("allocs")?,
    })
}

fn decode_alloc(row: &Row<'_>) -> Result<AllocTags, Problem> {
    let alloc = row.get::<Option<AllocId>>("pk_alloc")?.map(|id| Ok::<_, Problem>((id, row.text("alloc_name")?)));
    Ok(AllocTags {
        facility: row.get("pk_facility")?,
        facility_name: row.text("facility_name")?,
        alloc: alloc.transpose()?,
        has_hosts: row.get("has_hosts")?,
        alloc_tags: row.tags("alloc_tags")?,
        manual_tags: row.tags("manual_tags")?,
        hostname_tags: row.tags("hostname_tags")?,
        hardware_tags: row.tags("hardware_tags")?,
    })
}
