//! The frames that a plan asked for.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::db::{Problem, Result, Row, Source as _, Statement, Store};
use crate::model::{Booked, FrameId, LayerId, LeftOutRow, ProcId, WaitingFrame};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingFrames {
    /// In dispatch order; a layer without waiting frames is absent.
    pub by_layer: HashMap<LayerId, Vec<WaitingFrame>>,
    /// Of those whose last run failed by the frame's own doing, a few minutes ago at most.
    pub(crate) failed: HashMap<FrameId, FailedRun>,
    pub left_out: Vec<LeftOutRow>,
    /// How many of them each layer has.
    pub left_out_of_layer: HashMap<LayerId, u32>,
}

/// Where and how a frame failed, by the database's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedRun {
    pub(crate) host_name: String,
    pub(crate) ago: Duration,
    /// From its start to its end.
    pub(crate) after: Duration,
}

/// How a run that was begun here failed, by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchedRun {
    pub(crate) ago: Duration,
    pub(crate) after: Duration,
}

/// Frames to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedFrames {
    pub(crate) layer: LayerId,
    pub(crate) frames: u32,
    /// The name of the host that they shall go to; frames that failed there a moment ago are passed over.
    pub(crate) host_name: Option<String>,
}

/// What counts as a failure that a frame brought about itself, and how long it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnFailures {
    /// How long ago a moment ago is.
    pub(crate) moment: Duration,
    /// Exit statuses that the site has rules for.
    pub(crate) excused: Vec<i64>,
}

/// Ends of a run that say nothing of the frame and its host: success and never run, memory (33, 137), a kill
/// (143, 287 for its log), skip retry, cleared, orphan, failed kill, host down.
pub(in crate::db) const NOT_OWN: [i64; 11] = [0, -1, 33, 137, 143, 286, 287, 299, 301, 302, 399];

impl OwnFailures {
    fn statuses_of_others(&self) -> Vec<i64> {
        [&NOT_OWN[..], &self.excused].concat()
    }
}

/// A run that failed sooner failed at once. Cuebot writes ends up to a second late.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(11);

/// What a frame is doing now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameState {
    /// `frame.str_state`, as Cuebot names it.
    pub state: String,
    pub version: i32,
}

impl Store {
    /// The next waiting frames of each layer, at most as many as asked for, in one statement. A layer
    /// whose start-after time has not come has none.
    ///
    /// Fewer than asked for may come: others take frames too, and rows that make no sense are left
    /// out.
    pub async fn load_waiting_frames(&self, wanted: &[(LayerId, u32)]) -> Result<WaitingFrames> {
        let wanted = wanted.iter().cloned();
        let wanted = wanted.map(|(layer, frames)| WantedFrames { layer, frames, host_name: None }).collect::<Vec<_>>();
        self.load_wanted_frames(&wanted, &OwnFailures::default()).await
    }

    /// As [`Store::load_waiting_frames`], with how they failed; a layer may be wanted for several hosts, and
    /// then a frame may come several times.
    pub(crate) async fn load_wanted_frames(
        &self,
        wanted: &[WantedFrames],
        failures: &OwnFailures,
    ) -> Result<WaitingFrames> {
        let mut frames = WaitingFrames::default();
        if wanted.is_empty() {
            return Ok(frames);
        }
        let statement = Statement::new("reading waiting frames", include_str!("../sql/waiting_frames.sql"))
            .texts(wanted.iter().map(|wanted| &wanted.layer))
            .bind(wanted.iter().map(|wanted| i64::from(wanted.frames)).collect::<Vec<_>>())
            .bind(wanted.iter().map(|wanted| wanted.host_name.as_deref()).collect::<Vec<_>>())
            .bind(failures.moment.as_secs_f64())
            .bind(failures.statuses_of_others());
        for row in self.rows(statement).await?.iter() {
            match decode(&row).and_then(|frame| Ok((frame, failure(&row)?))) {
                Ok((frame, failed)) => {
                    frames.failed.extend(failed.map(|failed| (frame.id.clone(), failed)));
                    frames.by_layer.entry(frame.layer.clone()).or_default().push(frame);
                }
                Err(problem) => {
                    if let Ok(layer) = row.text("pk_layer") {
                        *frames.left_out_of_layer.entry(layer.into()).or_default() += 1;
                    }
                    frames.left_out.push(row.left_out("frame", "pk_frame", problem));
                }
            }
        }
        Ok(frames)
    }

    /// Of some bookings, how their frames failed; none of those that run, or have run again.
    pub(crate) async fn load_watched_runs(
        &self,
        booked: &[Booked],
        failures: &OwnFailures,
    ) -> Result<HashMap<FrameId, WatchedRun>> {
        let statement = Statement::new("looking at what became of runs", include_str!("../sql/watched_runs.sql"))
            .texts(booked.iter().map(|booked| &booked.frame))
            .bind(booked.iter().map(|booked| booked.version).collect::<Vec<_>>())
            .bind(failures.statuses_of_others());
        Ok(self.rows(statement).await?.readable(|row| {
            let (ago, after) = times(row)?;
            Ok((row.get("pk_frame")?, WatchedRun { ago, after }))
        }))
    }

    /// Those of the layers that run for so long, or succeed, on other hosts than the one named with them.
    pub(crate) async fn layers_run_elsewhere(
        &self,
        layers: &[(String, LayerId)],
        lasting: Duration,
    ) -> Result<HashSet<(String, LayerId)>> {
        let statement = Statement::new("looking where layers run", include_str!("../sql/layers_run_elsewhere.sql"))
            .texts(layers.iter().map(|(host, _)| host))
            .texts(layers.iter().map(|(_, layer)| layer))
            .bind(lasting.as_secs_f64());
        Ok(self.rows(statement).await?.readable(|row| Ok((row.text("host")?, row.get("pk_layer")?))))
    }

    /// What has become of some frames; those that are gone are absent.
    pub async fn load_frame_states(&self, frames: &[FrameId]) -> Result<HashMap<FrameId, FrameState>> {
        let statement =
            Statement::new("reading the states of frames", include_str!("../sql/frame_states.sql")).texts(frames);
        Ok(self.rows(statement).await?.readable(|row| {
            let state = FrameState { state: row.text("str_state")?, version: row.small_number("int_version")? };
            Ok((row.get("pk_frame")?, state))
        }))
    }
}

fn decode(row: &Row<'_>) -> Result<WaitingFrame, Problem> {
    if let Some(proc) = row.get::<Option<ProcId>>("holder")? {
        return Err(format!(
            "it waits while proc {proc} holds it and may run still; wait until Cuebot has released the proc, or \
             unbook it"
        ));
    }
    Ok(WaitingFrame {
        id: row.get("pk_frame")?,
        version: row.small_number("int_version")?,
        layer: row.get("pk_layer")?,
        job: row.get("pk_job")?,
        name: row.text("str_name")?,
        number: row.small_number("int_number")?,
        waiting_since: row.time("waiting_since")?,
    })
}

fn failure(row: &Row<'_>) -> Result<Option<FailedRun>, Problem> {
    let Some(host_name) = row.get::<Option<String>>("failed_on")? else { return Ok(None) };
    let (ago, after) = times(row)?;
    Ok(Some(FailedRun { host_name, ago, after }))
}

/// Since when a run has been over, and how long it took.
fn times(row: &Row<'_>) -> Result<(Duration, Duration), Problem> {
    let time = |column| {
        let seconds: Option<f64> = row.get(column)?;
        Ok::<_, Problem>(Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default())
    };
    Ok((time("failed_ago")?, time("failed_after")?))
}
