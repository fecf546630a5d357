//! What commands ask besides the snapshot.

use std::collections::{BTreeMap, BTreeSet};

use super::candidates::split_tags;
use super::row::Columns;
use super::{Store, StoreError};
use crate::model::{Cluster, FacilityId, HostId, ShowId, Tag, Timestamp};

/// A set of tags that layers of pending jobs ask for; any one of them will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedTags {
    pub show: ShowId,
    pub facility: FacilityId,
    pub tags: BTreeSet<Tag>,
    pub layers: u64,
}

impl Store {
    /// One statement; rows: about as many as there are different wishes. Layers without a tag ask for
    /// nothing.
    pub async fn load_asked_tags(&self) -> Result<Vec<AskedTags>, StoreError> {
        let mut reading = self.begin_reading().await?;
        let rows = reading.rows("reading the tags of layers", sqlx::query(include_str!("sql/asked_tags.sql"))).await?;
        reading.end().await?;
        let mut asked: BTreeMap<(ShowId, FacilityId, BTreeSet<Tag>), u64> = BTreeMap::new();
        for row in &rows {
            let row = Columns(row);
            let (Ok(show), Ok(facility), Ok(tags), Ok(layers)) =
                (row.text("pk_show"), row.text("pk_facility"), row.text("str_tags"), row.amount("layers"))
            else {
                continue;
            };
            let tags = split_tags(&tags);
            if !tags.is_empty() {
                *asked.entry((show.into(), facility.into(), tags)).or_default() += layers.unsigned_abs();
            }
        }
        let asked = asked.into_iter();
        Ok(asked.map(|((show, facility, tags), layers)| AskedTags { show, facility, tags, layers }).collect())
    }

    /// When the shows of the clusters last got a frame on which host, as far as procs of them are left.
    pub async fn load_last_dispatches(
        &self,
        clusters: &[Cluster],
    ) -> Result<BTreeMap<(ShowId, HostId), Timestamp>, StoreError> {
        let shows: Vec<ShowId> = super::snapshot::distinct(clusters.iter().map(|cluster| &cluster.show));
        let statement = sqlx::query(include_str!("sql/last_dispatches.sql"))
            .bind(shows.iter().map(ShowId::as_str).collect::<Vec<_>>());
        let mut reading = self.begin_reading().await?;
        let rows = reading.rows("reading the last bookings", statement).await?;
        reading.end().await?;
        let decode = |row| {
            let row = Columns(row);
            let key = (row.text("pk_show").ok()?.into(), row.text("pk_host").ok()?.into());
            Some((key, row.time("ts_dispatched").ok()?))
        };
        Ok(rows.iter().filter_map(decode).collect())
    }
}
