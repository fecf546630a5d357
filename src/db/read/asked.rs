//! What commands ask besides the snapshot.

use std::collections::{BTreeMap, BTreeSet};

use super::candidates::split_tags;
use crate::db::row::whole;
use crate::db::{Result, Source as _, Statement, Store};
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
    pub async fn load_asked_tags(&self) -> Result<Vec<AskedTags>> {
        let statement = Statement::new("reading the tags of layers", include_str!("../sql/asked_tags.sql"));
        let wishes: Vec<(ShowId, FacilityId, String, i64)> = self.rows(statement).await?.readable(whole);
        let mut asked: BTreeMap<(ShowId, FacilityId, BTreeSet<Tag>), u64> = BTreeMap::new();
        for (show, facility, tags, layers) in wishes {
            *asked.entry((show, facility, split_tags(&tags))).or_default() += layers.unsigned_abs();
        }
        let asked = asked.into_iter().filter(|((.., tags), _)| !tags.is_empty());
        Ok(asked.map(|((show, facility, tags), layers)| AskedTags { show, facility, tags, layers }).collect())
    }

    /// When the shows of the clusters last got a frame on which host, as far as procs of them are left.
    pub async fn load_last_dispatches(&self, clusters: &[Cluster]) -> Result<BTreeMap<(ShowId, HostId), Timestamp>> {
        let statement = Statement::new("reading the last bookings", include_str!("../sql/last_dispatches.sql"))
            .distinct(clusters.iter().map(|cluster| &cluster.show));
        let rows = self.rows(statement).await?;
        Ok(rows.readable(|row| Ok(((row.get("pk_show")?, row.get("pk_host")?), row.time("ts_dispatched")?))))
    }
}
