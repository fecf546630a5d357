//! The frames that a plan asked for.

use std::collections::HashMap;

use crate::db::{Problem, Result, Row, Source as _, Statement, Store};
use crate::model::{FrameId, LayerId, LeftOutRow, ProcId, WaitingFrame};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingFrames {
    /// In dispatch order; a layer without waiting frames is absent.
    pub by_layer: HashMap<LayerId, Vec<WaitingFrame>>,
    pub left_out: Vec<LeftOutRow>,
    /// How many of them each layer has.
    pub left_out_of_layer: HashMap<LayerId, u32>,
}

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
        let mut frames = WaitingFrames::default();
        if wanted.is_empty() {
            return Ok(frames);
        }
        let statement = Statement::new("reading waiting frames", include_str!("../sql/waiting_frames.sql"))
            .texts(wanted.iter().map(|(layer, _)| layer))
            .bind(wanted.iter().map(|(_, frames)| i64::from(*frames)).collect::<Vec<_>>());
        for row in self.rows(statement).await?.iter() {
            match decode(&row) {
                Ok(frame) => frames.by_layer.entry(frame.layer.clone()).or_default().push(frame),
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
