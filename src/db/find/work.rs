//! Work that is out of the ordinary: what people are told of it before anything goes wrong.

use sqlx::FromRow;

use crate::db::row::whole;
use crate::db::{Problem, Result, Row, Source, Statement, Store};
use crate::model::{FacilityId, JobId, LayerId, ShowId};

/// A layer whose tags no host of its show carries, and that Cuebot finds hosts for all the same: it reads the tags
/// as a regular expression.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct LooseTags {
    pub show: String,
    pub job_name: String,
    pub layer: LayerId,
    pub layer_name: String,
    /// As they are stored.
    pub tags: String,
    /// Some of the hosts' tags that it finds.
    pub near: Vec<String>,
}

/// Layers of pending jobs of a show whose environment declares licences.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct DeclaredLicences {
    pub show: String,
    pub layers: i64,
}

/// A layer whose frames render several numbers each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerChunks {
    pub job_name: String,
    pub layer: LayerId,
    pub layer_name: String,
    pub range: String,
    pub chunk_size: i32,
    /// The numbers of its frames.
    pub frames: Vec<i32>,
}

/// Hosts and waiting layers that count slots; names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotWork {
    pub columns: Vec<String>,
    pub hosts: Vec<String>,
    pub layers: Vec<String>,
}

impl Store {
    /// Of some jobs, and of the pending jobs of some shows.
    pub async fn load_loose_tags(&self, jobs: &[JobId], shows: &[ShowId]) -> Result<Vec<LooseTags>> {
        loose_tags(self, jobs, shows).await
    }

    pub async fn load_declared_licences(&self, shows: &[ShowId]) -> Result<Vec<DeclaredLicences>> {
        declared_licences(self, shows).await
    }

    pub async fn load_chunks(&self, job: &JobId) -> Result<Vec<LayerChunks>> {
        layer_chunks(self, std::slice::from_ref(job), &[]).await
    }
}

pub(crate) async fn loose_tags(source: impl Source, jobs: &[JobId], shows: &[ShowId]) -> Result<Vec<LooseTags>> {
    let sql = include_str!("../sql/loose_tags.sql");
    let statement = Statement::new("looking for tags that only Cuebot finds", sql).texts(jobs).texts(shows);
    Ok(source.rows(statement).await?.readable(whole))
}

pub(crate) async fn declared_licences(source: impl Source, shows: &[ShowId]) -> Result<Vec<DeclaredLicences>> {
    let sql = include_str!("../sql/declared_licences.sql");
    let statement = Statement::new("looking for declared licences", sql).texts(shows);
    Ok(source.rows(statement).await?.readable(whole))
}

/// Of some jobs, and of the pending jobs of some shows.
pub(crate) async fn layer_chunks(source: impl Source, jobs: &[JobId], shows: &[ShowId]) -> Result<Vec<LayerChunks>> {
    let sql = include_str!("../sql/layer_chunks.sql");
    let statement = Statement::new("reading the chunks of layers", sql).texts(jobs).texts(shows);
    Ok(source.rows(statement).await?.readable(decode_chunks))
}

/// A number that is no frame's is nobody's.
fn decode_chunks(row: &Row<'_>) -> Result<LayerChunks, Problem> {
    let frames: Vec<i64> = row.get("frames")?;
    Ok(LayerChunks {
        job_name: row.text("job_name")?,
        layer: row.get("layer")?,
        layer_name: row.text("layer_name")?,
        range: row.text("range")?,
        chunk_size: row.small_number("chunk_size")?,
        frames: frames.into_iter().filter_map(|number| i32::try_from(number).ok()).collect(),
    })
}

/// Of hosts of some facilities, and waiting layers of some shows.
pub(crate) async fn slot_work(source: impl Source, facilities: &[FacilityId], shows: &[ShowId]) -> Result<SlotWork> {
    let statement = Statement::new("looking for slots", include_str!("../sql/check_slots.sql"));
    let rows = source.rows(statement.texts(facilities).texts(shows)).await?;
    let mut found = SlotWork::default();
    for (kind, name) in rows.readable::<_, Vec<(String, String)>>(whole) {
        match kind.as_str() {
            "host" => found.hosts.push(name),
            "layer" => found.layers.push(name),
            _ => found.columns.push(name),
        }
    }
    Ok(found)
}
