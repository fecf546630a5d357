//! What launching the frames of a layer needs to know of the layer and its job.

use std::collections::{BTreeMap, HashMap};

use super::row::{Columns, Problem};
use super::{Store, StoreError};
use crate::model::{JobId, LayerId, LayerLaunch, LeftOutRow};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerLaunches {
    pub by_layer: HashMap<LayerId, LayerLaunch>,
    pub left_out: Vec<LeftOutRow>,
}

impl Store {
    /// Two statements for any number of layers; rows: the layers, and their and their jobs'
    /// environment variables.
    pub async fn load_layer_launches(&self, layers: &[LayerId]) -> Result<LayerLaunches, StoreError> {
        let mut launches = LayerLaunches::default();
        if layers.is_empty() {
            return Ok(launches);
        }
        let ids: Vec<&str> = layers.iter().map(LayerId::as_str).collect();
        let statement = sqlx::query(include_str!("sql/layer_launches.sql")).bind(&ids);
        for row in self.rows("reading layers to launch", statement).await? {
            let row = Columns(&row);
            match decode(&row) {
                Ok(launch) => _ = launches.by_layer.insert(launch.layer.clone(), launch),
                Err(problem) => launches.left_out.push(row.left_out("layer", "pk_layer", problem)),
            }
        }
        let mut jobs: Vec<&str> = launches.by_layer.values().map(|launch| launch.job.as_str()).collect();
        jobs.sort_unstable();
        jobs.dedup();
        let statement = sqlx::query(include_str!("sql/layer_environments.sql")).bind(jobs).bind(&ids);
        let mut of_jobs: HashMap<JobId, BTreeMap<String, String>> = HashMap::new();
        let mut of_layers: HashMap<LayerId, BTreeMap<String, String>> = HashMap::new();
        for row in self.rows("reading environment variables", statement).await? {
            let row = Columns(&row);
            match decode_variable(&row) {
                Ok((Owner::Job(job), key, value)) => _ = of_jobs.entry(job).or_default().insert(key, value),
                Ok((Owner::Layer(layer), key, value)) => _ = of_layers.entry(layer).or_default().insert(key, value),
                Err(problem) => launches.left_out.push(row.left_out("job_env or layer_env", "pk_row", problem)),
            }
        }
        for launch in launches.by_layer.values_mut() {
            launch.environment = of_jobs.get(&launch.job).cloned().unwrap_or_default();
            launch.environment.extend(of_layers.remove(&launch.layer).unwrap_or_default());
        }
        Ok(launches)
    }
}

fn decode(row: &Columns<'_>) -> Result<LayerLaunch, Problem> {
    Ok(LayerLaunch {
        layer: row.text("pk_layer")?.into(),
        layer_name: row.text("layer_name")?,
        command: row.text("str_cmd")?,
        range: row.text("str_range")?,
        chunk_size: row.small_number("int_chunk_size")?,
        is_threadable: row.flag("b_threadable")?,
        memory: row.kib("int_mem_min")?,
        stuck_detection_minutes: row.small_number_or_null("int_stuck_detection_llu")?,
        job: row.text("pk_job")?.into(),
        job_name: row.text("job_name")?,
        user: row.text("str_user")?,
        uid: row.small_number_or_null("int_uid")?,
        log_dir: row.text("str_log_dir")?,
        show: row.text("str_show")?,
        shot: row.text("str_shot")?,
        os: row.text_or_null("str_os")?.filter(|os| !os.trim().is_empty()),
        loki_url: row.text_or_null("str_loki_url")?.filter(|url| !url.trim().is_empty()),
        environment: BTreeMap::new(),
    })
}

enum Owner {
    Job(JobId),
    Layer(LayerId),
}

fn decode_variable(row: &Columns<'_>) -> Result<(Owner, String, String), Problem> {
    let owner = match row.text_or_null("pk_layer")? {
        Some(layer) => Owner::Layer(layer.into()),
        None => Owner::Job(row.text("pk_job")?.into()),
    };
    Ok((owner, row.text("str_key")?, row.text("str_value")?))
}
