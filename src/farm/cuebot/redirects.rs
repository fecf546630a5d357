//! Orders of operators that a proc goes to another job or group when its frame ends: Cuebot takes the
//! order's row away, releases the proc, and books the destination from a queue a moment later, on
//! whatever is idle on the host then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _, query};

use super::Shared;
use super::next_frames::launch;
use super::stop::Stopped;
use crate::booking::{BookOptions, book};
use crate::farm::schema::Generation;
use crate::model::{BookingRequest, Timestamp, WaitingFrame};
use crate::units::{Amounts, Cores, Gpus, Kib};

const ATTEMPTS_MAX: u32 = 100;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Order {
    host: String,
    job: Option<String>,
    folder: Option<String>,
}

/// Takes away the orders of the procs of a batch, which then do not go on with a next frame.
pub(super) async fn take_orders(shared: &Shared, stopped: &mut Stopped) -> Vec<Order> {
    if shared.options.redirect_delay.is_none() {
        return Vec::new();
    }
    let statement = query(include_str!("../sql/cuebot_take_redirects.sql")).bind(&stopped.procs);
    let taken = statement.fetch_all(&shared.pool).await.and_then(|rows| {
        rows.iter()
            .map(|row| Ok((row.try_get::<String, _>("pk_proc")?, Order::of(row)?)))
            .collect::<Result<Vec<_>, _>>()
    });
    match taken {
        Ok(taken) => {
            let (procs, orders): (HashSet<String>, Vec<Order>) = taken.into_iter().unzip();
            stopped.may_go_on.retain(|proc| !procs.contains(proc));
            orders
        }
        Err(error) => {
            shared.refuse("taking redirects away", &error);
            Vec::new()
        }
    }
}

/// Books the destinations from a queue, each after the delay.
pub(super) fn carry_out(shared: &Arc<Shared>, orders: Vec<Order>) {
    let Some(delay) = shared.options.redirect_delay else { return };
    for order in orders {
        let (queued, stop) = (Arc::clone(shared), shared.tasks.stop_signal());
        shared.tasks.spawn("cuebot redirect", async move {
            match stop.run_until_cancelled(Box::pin(go(&queued, order, delay))).await {
                Some(Ok(true)) => queued.count(|counts| counts.redirected += 1),
                Some(Ok(false)) => queued.count(|counts| counts.redirects_without_room += 1),
                Some(Err(error)) => {
                    tracing::warn!(error, "could not carry a redirect out");
                    queued.count(|counts| counts.refused += 1);
                }
                None => {}
            }
        });
    }
}

/// Whether the destination got a frame on the host.
async fn go(shared: &Shared, order: Order, delay: Duration) -> Result<bool, String> {
    tokio::time::sleep(delay).await;
    let (Some(store), Some(agents)) = (&shared.store, shared.agents()) else {
        return Err("nobody to book with".to_owned());
    };
    let failed = |error: &dyn std::error::Error| error.to_string();
    // Where Cuebot waits for a row, this comes back to it; and several orders want the same first frame.
    for _ in 0..ATTEMPTS_MAX {
        let target = target(&shared.pool, shared.generation, &order).await.map_err(|error| failed(&error))?;
        let Some(request) = target else { return Ok(false) };
        let outcome = book(store, &[request], &BookOptions::default()).await.map_err(|error| failed(&error))?;
        if let Some(booked) = outcome.booked.into_iter().next() {
            launch(store.clone(), agents, booked.proc).await;
            return Ok(true);
        }
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
    Ok(false)
}

async fn target(pool: &PgPool, generation: Generation, order: &Order) -> Result<Option<BookingRequest>, sqlx::Error> {
    let passes_managed_over = matches!(generation, Generation::G4 | Generation::G5);
    let statement = query(include_str!("../sql/cuebot_redirected_frame.sql"))
        .bind(&order.host)
        .bind(&order.job)
        .bind(&order.folder)
        .bind(passes_managed_over);
    let Some(row) = statement.fetch_optional(pool).await? else { return Ok(None) };
    let text = |column| row.try_get::<String, _>(column);
    Ok(Some(BookingRequest {
        proc: uuid::Uuid::new_v4().to_string().into(),
        frame: WaitingFrame {
            id: text("pk_frame")?.into(),
            version: row.try_get("int_version")?,
            layer: text("pk_layer")?.into(),
            job: text("pk_job")?.into(),
            name: text("str_name")?,
            number: row.try_get("int_number")?,
            waiting_since: Timestamp::now_utc(),
        },
        host: order.host.as_str().into(),
        host_name: text("host_name")?,
        alloc: text("pk_alloc")?.into(),
        show: text("pk_show")?.into(),
        folder: text("pk_folder")?.into(),
        reservation: Amounts {
            cores: Cores(row.try_get("int_cores")?),
            memory: Kib(row.try_get("int_mem")?),
            gpus: Gpus(row.try_get("int_gpus")?),
            gpu_memory: Kib(row.try_get("int_gpu_mem")?),
        },
        limits: Vec::new(),
    }))
}

impl Order {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let destination: String = row.try_get("str_destination_id")?;
        let (job, folder) =
            if row.try_get::<i64, _>("int_type")? == 0 { (Some(destination), None) } else { (None, Some(destination)) };
        Ok(Self { host: row.try_get("pk_host")?, job, folder })
    }
}
