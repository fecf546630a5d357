//! What a name on the command line leads to, and the names that were probably meant where it leads nowhere.

use cue_scheduler::db::{FoundFrame, FoundLayer, Match, Named, Store};
use cue_scheduler::model::Cluster;
use cue_scheduler::preview::Narrowing;
use cue_scheduler::text::Known;

use crate::failure::NotOne;

/// `job/layer`, of which a misspelt layer is told by the names of its job's layers.
pub(crate) async fn layer(store: &Store, name: &str) -> anyhow::Result<FoundLayer> {
    let found = store.find_layer(name).await?;
    let job = name.rsplit_once('/').map(|(job, _)| job);
    if let (Match::None, Some(job)) = (&found, job)
        && let Match::One(job) = store.find_job(job).await?
    {
        let layers = store.load_layers_of(&job.id).await?;
        let names = layers.iter().map(|layer| format!("{}/{}", job.name, layer.name));
        return Err(unknown("layer", name, Known::like(name, names)).into());
    }
    let called = |layer: &FoundLayer| format!("{}/{}", layer.job_name, layer.name);
    one(store, found, Kind::of_job("layer", name), name, called).await
}

pub(crate) async fn frame(store: &Store, name: &str) -> anyhow::Result<FoundFrame> {
    let found = store.find_frame(name).await?;
    let called = |frame: &FoundFrame| format!("{}/{}", frame.job_name, frame.name);
    one(store, found, Kind::of_job("frame", name), name, called).await
}

/// That each name exists, whether the plan has something of it or not; `named` are those that it has nothing of.
pub(crate) async fn check(store: &Store, clusters: &[Cluster], named: &Narrowing) -> anyhow::Result<()> {
    for name in &named.clusters {
        if !clusters.iter().any(|cluster| cluster.name.starts_with(name)) {
            let known = Known::like(name, clusters.iter().map(|cluster| &cluster.name));
            return Err(unknown("cluster", name, known).into());
        }
    }
    for name in &named.shows {
        let shows = store.load_names(Named::Show).await?;
        if !shows.iter().any(|show| show.starts_with(name)) {
            return Err(unknown("show", name, Known::like(name, shows)).into());
        }
    }
    for name in &named.jobs {
        if store.find_job(name).await? == Match::None {
            return Err(unknown("job", name, Known::like(name, store.load_names(Named::Job).await?)).into());
        }
    }
    for name in &named.hosts {
        if store.find_host(name).await? == Match::None {
            return Err(unknown("host", name, Known::like(name, store.load_names(Named::Host).await?)).into());
        }
    }
    Ok(())
}

/// A kind of thing, and whose names are those of its likes.
pub(crate) struct Kind<'n> {
    word: &'static str,
    of: Named,
    /// What stands behind a job's name.
    rest: Option<&'n str>,
}

impl<'n> Kind<'n> {
    pub(crate) const JOB: Self = Self { word: "job", of: Named::Job, rest: None };
    pub(crate) const HOST: Self = Self { word: "host", of: Named::Host, rest: None };

    fn of_job(word: &'static str, name: &'n str) -> Self {
        Self { word, of: Named::Job, rest: name.rsplit_once('/').map(|(_, rest)| rest) }
    }
}

pub(crate) async fn one<T>(
    store: &Store,
    found: Match<T>,
    kind: Kind<'_>,
    name: &str,
    called: impl Fn(&T) -> String,
) -> anyhow::Result<T> {
    match found {
        Match::One(one) => Ok(one),
        Match::Several(several) => {
            let names = several.iter().map(called).collect();
            Err(NotOne::Several { kind: kind.word, name: name.to_owned(), names }.into())
        }
        Match::None => {
            let names = store.load_names(kind.of).await?;
            let names = names.into_iter().map(|name| kind.rest.map_or(name.clone(), |rest| format!("{name}/{rest}")));
            Err(unknown(kind.word, name, Known::like(name, names)).into())
        }
    }
}

fn unknown(kind: &'static str, name: &str, known: Known) -> NotOne {
    let extra = match kind {
        "frame" if !name.contains('/') => "; name it as JOB/FRAME, or by its id",
        "job" | "layer" | "frame" => " among the pending ones",
        _ => "",
    };
    NotOne::Unknown { kind, name: name.to_owned(), extra, known }
}
