//! Orders of operators that a proc goes to another job or group when its frame ends: Cuebot takes the
//! order's row away, releases the proc, and books the destination from a queue a moment later, on
//! whatever is idle on the host then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _, query};

use super::database::{Trouble, trouble};
use super::launches::{Launch, Start, clear};
use super::release::{Holding, take};
use super::shared::Shared;
use super::stop::Stopped;
use crate::farm::schema::Generation;

const ATTEMPTS_MAX: u32 = 100;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
const RAISED_BY_TRIGGER: &str = "P0001";
/// A unique violation: the frame has a proc.
const PROC_EXISTS: &str = "23505";

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
    let Some(agents) = shared.agents() else { return Err("nobody to launch with".to_owned()) };
    let failed = |error: sqlx::Error| error.to_string();
    // Several orders want the same first frame, and only one of them gets it.
    for _ in 0..ATTEMPTS_MAX {
        let target = target(&shared.pool, shared.generation, &order).await.map_err(failed)?;
        let Some((start, holding)) = target else { return Ok(false) };
        match book(&shared.pool, &start, holding).await {
            Ok(Some(launch)) => {
                launch.go(shared, &agents).await;
                return Ok(true);
            }
            Ok(None) => {}
            // A host or a cap has no room any more: Cuebot marks the frame and is done with the host.
            Err(error) if is_code(&error, RAISED_BY_TRIGGER) => {
                clear(shared, &start.frame, start.version).await.map_err(failed)?;
                return Ok(false);
            }
            Err(error) if is_code(&error, PROC_EXISTS) || trouble(&error) == Trouble::Passing => {}
            Err(error) => return Err(failed(error)),
        }
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
    Ok(false)
}

fn is_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|found| found == code)
}

async fn target(pool: &PgPool, generation: Generation, order: &Order) -> Result<Option<(Start, Holding)>, sqlx::Error> {
    let passes_managed_over = matches!(generation, Generation::G4 | Generation::G5);
    let statement = query(include_str!("../sql/cuebot_redirected_frame.sql"))
        .bind(&order.host)
        .bind(&order.job)
        .bind(&order.folder)
        .bind(passes_managed_over);
    let Some(row) = statement.fetch_optional(pool).await? else { return Ok(None) };
    let start = Start::of(&row)?;
    let holding = Holding {
        host: order.host.clone(),
        show: row.try_get("pk_show")?,
        layer: row.try_get("pk_layer")?,
        job: row.try_get("pk_job")?,
        held: start.held,
    };
    Ok(Some((start, holding)))
}

/// One transaction, as Cuebot books a frame. `None`: the frame has changed meanwhile.
async fn book(pool: &PgPool, start: &Start, holding: Holding) -> Result<Option<Launch>, sqlx::Error> {
    let proc = uuid::Uuid::new_v4().to_string();
    let mut tx = pool.begin().await?;
    let statement = query(include_str!("../sql/cuebot_claim_frame.sql")).bind(&start.frame).bind(start.version);
    if statement.fetch_optional(&mut *tx).await?.is_none() || !start.write(&mut tx).await? {
        return Ok(None);
    }
    let statement = query(include_str!("../sql/cuebot_new_proc.sql"))
        .bind(&proc)
        .bind(&holding.host)
        .bind(&holding.show)
        .bind(&holding.layer)
        .bind(&holding.job)
        .bind(&start.frame)
        .bind(holding.held.cores)
        .bind(holding.held.memory)
        .bind(holding.held.gpus)
        .bind(holding.held.gpu_memory);
    statement.execute(&mut *tx).await?;
    take(&mut tx, holding).await?;
    let launch = Launch::read(&mut tx, &proc).await?;
    tx.commit().await?;
    Ok(Some(launch))
}

impl Order {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let destination: String = row.try_get("str_destination_id")?;
        let (job, folder) =
            if row.try_get::<i64, _>("int_type")? == 0 { (Some(destination), None) } else { (None, Some(destination)) };
        Ok(Self { host: row.try_get("pk_host")?, job, folder })
    }
}
