//! Requests for the tests of this room.

use crate::model::{BookingRequest, Timestamp, WaitingFrame};
use crate::units::Amounts;

/// The `number`th frame of the one layer of `job`, on `host`, reserving nothing.
pub(super) fn request(number: i32, host: &str, job: &str) -> BookingRequest {
    BookingRequest {
        proc: format!("proc-{number}").into(),
        frame: WaitingFrame {
            id: format!("frame-{number}").into(),
            version: 0,
            layer: "layer".into(),
            job: job.into(),
            name: String::new(),
            number,
            waiting_since: Timestamp::UNIX_EPOCH,
        },
        host: host.into(),
        host_name: host.to_owned(),
        alloc: "alloc".into(),
        show: "show".into(),
        folder: "folder".into(),
        reservation: Amounts::default(),
        limits: Vec::new(),
    }
}
