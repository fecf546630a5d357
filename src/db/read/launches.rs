//! What launching the frames of a layer needs to know of the layer and its job.

use std::collections::{BTreeMap, HashMap};

use crate::db::{Problem, Result, Row, Source as _, Statement, Store};
use crate::model::{JobId, LayerId, LayerLaunch, LeftOutRow};
use crate::units::Kib;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerLaunches {
    pub by_layer: HashMap<LayerId, LayerLaunch>,
    pub left_out: Vec<LeftOutRow>,
}

impl Store {
    /// Two statements for any number of layers; rows: the layers, and their and their jobs'
    /// environment variables.
    pub async fn load_layer_launches(&self, layers: &[LayerId]) -> Result<LayerLaunches> {
        let mut launches = LayerLaunches::default();
        if layers.is_empty() {
            return Ok(launches);
        }
        let LayerLaunches { by_layer, left_out } = &mut launches;
        let statement =
            Statement::new("reading layers to launch", include_str!("../sql/layer_launches.sql")).texts(layers);
        let read = self.rows(statement).await?.or_left_out(("layer", "pk_layer"), left_out, decode);
        by_layer.extend(read.into_iter().map(|launch| (launch.layer.clone(), launch)));
        let statement = Statement::new("reading environment variables", include_str!("../sql/layer_environments.sql"))
            .distinct(by_layer.values().map(|launch| &launch.job))
            .texts(layers);
        let read = self.rows(statement).await?;
        let mut environments: HashMap<Owner, BTreeMap<String, String>> = HashMap::new();
        for (owner, key, value) in read.or_left_out(("job_env or layer_env", "pk_row"), left_out, decode_variable) {
            environments.entry(owner).or_default().insert(key, value);
        }
        for launch in launches.by_layer.values_mut() {
            let owners = [Owner::Job(launch.job.clone()), Owner::Layer(launch.layer.clone())];
            launch.environment = owners.iter().filter_map(|owner| environments.get(owner).cloned()).flatten().collect();
        }
        Ok(launches)
    }
}

fn decode(row: &Row<'_>) -> Result<LayerLaunch, Problem> {
    Ok(LayerLaunch {
        layer: row.get("pk_layer")?,
        layer_name: row.text("layer_name")?,
        command: row.text("str_cmd")?,
        range: row.text("str_range")?,
        chunk_size: row.small_number("int_chunk_size")?,
        is_threadable: row.get("b_threadable")?,
        memory: Kib(row.amount("int_mem_min")?),
        stuck_detection_minutes: row.small_number_or_null("int_stuck_detection_llu")?,
        job: row.get("pk_job")?,
        job_name: row.text("job_name")?,
        user: row.text("str_user")?,
        uid: row.small_number_or_null("int_uid")?,
        log_dir: row.text("str_log_dir")?,
        show: row.text("str_show")?,
        shot: row.text("str_shot")?,
        os: row.get::<Option<String>>("str_os")?.filter(|os| !os.trim().is_empty()),
        loki_url: row.get::<Option<String>>("str_loki_url")?.filter(|url| !url.trim().is_empty()),
        environment: BTreeMap::new(),
    })
}

#[derive(PartialEq, Eq, Hash)]
enum Owner {
    Job(JobId),
    Layer(LayerId),
}

fn decode_variable(row: &Row<'_>) -> Result<(Owner, String, String), Problem> {
    let owner = match row.get("pk_layer")? {
        Some(layer) => Owner::Layer(layer),
        None => Owner::Job(row.get("pk_job")?),
    };
    Ok((owner, row.text("str_key")?, row.text("str_value")?))
}
