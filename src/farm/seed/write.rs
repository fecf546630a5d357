//! A planned farm into an empty database, one statement per table.

use std::collections::BTreeMap;

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, query, query_scalar};

use super::error::SeedError;
use super::plan::FarmPlan;
use crate::model::{DeptId, ShowId, TagKind, ThreadMode};
use crate::units::{Cores, Gpus};

/// Frames in one statement, so that no statement runs for minutes.
const FRAMES_PER_STATEMENT: u64 = 50_000;

type Statement<'q> = Query<'q, Postgres, PgArguments>;

pub(super) async fn write(pool: &PgPool, plan: &mut FarmPlan<'_>) -> Result<(), SeedError> {
    let mut transaction = pool.begin().await.map_err(step("beginning to seed"))?;
    let connection = &mut *transaction;
    places(connection, plan).await?;
    hosts(connection, plan).await?;
    limits(connection, plan).await?;
    shows(connection, plan).await?;
    folders(connection, plan).await?;
    jobs(connection, plan).await?;
    layers(connection, plan).await?;
    frames(connection, plan).await?;
    transaction.commit().await.map_err(step("committing the farm"))?;
    query(include_str!("sql/analyze.sql")).execute(pool).await.map_err(step("gathering statistics"))?;
    Ok(())
}

async fn places(connection: &mut PgConnection, plan: &FarmPlan<'_>) -> Result<(), SeedError> {
    let seeded = &plan.seeded;
    let statement = query(include_str!("sql/facility.sql"));
    run(connection, "writing the facility", statement.bind(seeded.facility.as_str()).bind(&seeded.facility_name))
        .await?;
    let statement = query(include_str!("sql/depts.sql"))
        .bind(column(&seeded.depts, |dept| dept.id.as_str()))
        .bind(column(&seeded.depts, |dept| dept.name.as_str()));
    run(connection, "writing departments", statement).await?;
    let statement = query(include_str!("sql/allocs.sql"))
        .bind(seeded.facility.as_str())
        .bind(column(&seeded.allocs, |alloc| alloc.id.as_str()))
        .bind(column(&seeded.allocs, |alloc| format!("{}.{}", seeded.facility_name, alloc.name)))
        .bind(column(&plan.spec.allocs, |alloc| alloc.tag.clone()));
    run(connection, "writing allocations", statement).await
}

async fn hosts(connection: &mut PgConnection, plan: &mut FarmPlan<'_>) -> Result<(), SeedError> {
    let hosts = &plan.seeded.hosts;
    let keys = column(hosts, |host| host.id.as_str());
    let statement = query(include_str!("sql/hosts.sql"))
        .bind(&keys)
        .bind(column(hosts, |host| host.alloc.as_str()))
        .bind(column(hosts, |host| host.name.as_str()))
        .bind(column(hosts, |host| thread_mode(host.thread_mode)))
        .bind(column(hosts, |host| host.total.cores.get()))
        .bind(column(hosts, |host| host.total.memory.get()))
        .bind(column(hosts, |host| host.total.gpus.get()))
        .bind(column(hosts, |host| host.total.gpu_memory.get()));
    run(connection, "writing hosts", statement).await?;
    let statement = query(include_str!("sql/host_stats.sql"))
        .bind(column(hosts, |_| plan.keys.next::<String>()))
        .bind(&keys)
        .bind(column(hosts, |host| host.os.as_str()))
        .bind(column(hosts, |host| host.total.memory.get()))
        .bind(column(hosts, |host| host.total.gpu_memory.get()));
    run(connection, "writing host stats", statement).await?;

    let mut tags: Vec<(&str, &str, &str)> = Vec::new();
    for (host, class) in hosts.iter().zip(&plan.hosts) {
        let id = host.id.as_str();
        tags.extend(
            plan.seeded
                .allocs
                .iter()
                .filter(|alloc| alloc.id == host.alloc && !alloc.tag.is_empty())
                .map(|alloc| (id, alloc.tag.as_str(), "ALLOC")),
        );
        tags.extend(class.tags.iter().map(|(tag, kind)| (id, tag.as_str(), tag_type(*kind))));
        tags.extend(class.has_hostname_tag.then_some((id, host.name.as_str(), "HOSTNAME")));
    }
    let statement = query(include_str!("sql/host_tags.sql"))
        .bind(column(&tags, |_| plan.keys.next::<String>()))
        .bind(column(&tags, |(host, ..)| *host))
        .bind(column(&tags, |(_, tag, _)| *tag))
        .bind(column(&tags, |(.., kind)| *kind));
    run(connection, "writing host tags", statement).await?;
    run(connection, "joining host tags", query(include_str!("sql/host_tags_flat.sql")).bind(&keys)).await
}

async fn limits(connection: &mut PgConnection, plan: &FarmPlan<'_>) -> Result<(), SeedError> {
    let specs = &plan.spec.limits;
    let keys = column(&plan.seeded.limits, |limit| limit.id.as_str());
    let statement = query(include_str!("sql/limits.sql"))
        .bind(&keys)
        .bind(column(specs, |limit| limit.name.as_str()))
        .bind(column(specs, |limit| limit.max))
        .bind(column(specs, |limit| limit.counts_hosts));
    run(connection, "writing limits", statement).await?;
    if has_column(connection, "limit_record", "str_type").await? {
        let of_hosts: Vec<&str> =
            keys.into_iter().zip(specs).filter(|(_, limit)| limit.counts_hosts).map(|(key, _)| key).collect();
        run(connection, "typing limits", query(include_str!("sql/limits_typed.sql")).bind(of_hosts)).await?;
    }
    Ok(())
}

async fn shows(connection: &mut PgConnection, plan: &FarmPlan<'_>) -> Result<(), SeedError> {
    let shows = &plan.seeded.shows;
    let keys = column(shows, |show| show.id.as_str());
    let statement = query(include_str!("sql/shows.sql"))
        .bind(&keys)
        .bind(column(shows, |show| show.name.as_str()))
        .bind(column(&plan.spec.shows, |show| show.is_active));
    run(connection, "writing shows", statement).await?;
    if plan.spec.is_scheduler_managed && has_column(connection, "show", "b_scheduler_managed").await? {
        run(connection, "flagging shows", query(include_str!("sql/shows_managed.sql")).bind(&keys)).await?;
    }

    let mut counts: BTreeMap<&ShowId, (i64, i64)> = BTreeMap::new();
    for (job, planned) in plan.seeded.jobs.iter().zip(&plan.jobs) {
        let (jobs, frames) = counts.entry(&job.show).or_default();
        *jobs += 1;
        *frames += i64::from(planned.frames);
    }
    let count = |show: &ShowId| counts.get(show).copied().unwrap_or_default();
    let statement = query(include_str!("sql/show_stats.sql"))
        .bind(&keys)
        .bind(column(shows, |show| count(&show.id).0))
        .bind(column(shows, |show| count(&show.id).1));
    run(connection, "writing show stats", statement).await?;

    let seeded = &plan.seeded.subscriptions;
    let statement = query(include_str!("sql/subscriptions.sql"))
        .bind(column(seeded, |subscription| subscription.id.as_str()))
        .bind(column(seeded, |subscription| subscription.show.as_str()))
        .bind(column(seeded, |subscription| subscription.alloc.as_str()))
        .bind(column(&plan.subscriptions, |subscription| subscription.size.get()))
        .bind(column(&plan.subscriptions, |subscription| subscription.burst.get()));
    run(connection, "writing subscriptions", statement).await
}

async fn folders(connection: &mut PgConnection, plan: &mut FarmPlan<'_>) -> Result<(), SeedError> {
    let folders = &plan.seeded.folders;
    // A root folder is the show's own; its department is that of the first folder in it.
    let dept = |show: &ShowId| folders.iter().find(|folder| folder.show == *show).map(|folder| &folder.dept);
    let with_dept = plan.seeded.shows.iter().filter_map(|show| Some((show, dept(&show.id)?)));
    let roots: Vec<_> = with_dept.collect();
    let statement = query(include_str!("sql/folders.sql"))
        .bind(column(&roots, |(show, _)| show.root_folder.as_str()))
        .bind(column(&roots, |_| None::<&str>))
        .bind(column(&roots, |(show, _)| show.id.as_str()))
        .bind(column(&roots, |(show, _)| show.name.chars().take(36).collect::<String>()))
        .bind(column(&roots, |(_, dept)| dept.as_str()));
    run(connection, "writing root folders", statement).await?;

    let root = |show: &ShowId| roots.iter().find(|(s, _)| s.id == *show).map(|(s, _)| s.root_folder.as_str());
    let keys = column(folders, |folder| folder.id.as_str());
    let statement = query(include_str!("sql/folders.sql"))
        .bind(&keys)
        .bind(column(folders, |folder| root(&folder.show)))
        .bind(column(folders, |folder| folder.show.as_str()))
        .bind(column(folders, |folder| folder.name.as_str()))
        .bind(column(folders, |folder| folder.dept.as_str()));
    run(connection, "writing folders", statement).await?;
    let statement = query(include_str!("sql/folder_caps.sql"))
        .bind(&keys)
        .bind(column(&plan.folders, |folder| folder.cores_max.map_or(-1, Cores::get)))
        .bind(column(&plan.folders, |folder| folder.gpus_max.map_or(-1, Gpus::get)));
    run(connection, "capping folders", statement).await?;

    let mut points: Vec<(&ShowId, &DeptId)> = folders.iter().map(|folder| (&folder.show, &folder.dept)).collect();
    points.sort();
    points.dedup();
    let statement = query(include_str!("sql/points.sql"))
        .bind(column(&points, |_| plan.keys.next::<String>()))
        .bind(column(&points, |(show, _)| show.as_str()))
        .bind(column(&points, |(_, dept)| dept.as_str()));
    run(connection, "writing points", statement).await
}

async fn jobs(connection: &mut PgConnection, plan: &mut FarmPlan<'_>) -> Result<(), SeedError> {
    let (seeded, jobs) = (&plan.seeded.jobs, &plan.jobs);
    let keys = column(seeded, |job| job.id.as_str());
    let statement = query(include_str!("sql/jobs.sql"))
        .bind(plan.seeded.facility.as_str())
        .bind(&keys)
        .bind(column(seeded, |job| job.folder.as_str()))
        .bind(column(seeded, |job| job.show.as_str()))
        .bind(column(seeded, |job| job.dept.as_str()))
        .bind(column(seeded, |job| job.name.as_str()))
        .bind(column(jobs, |job| job.show_name))
        .bind(column(jobs, |job| job.spec.shot.as_str()))
        .bind(column(jobs, |job| job.spec.user.as_str()))
        .bind(column(jobs, |job| job.spec.uid))
        .bind(column(jobs, |job| job.spec.log_dir.as_str()))
        .bind(column(jobs, |job| job.spec.os.clone()))
        .bind(column(jobs, |job| job.spec.is_paused))
        .bind(column(jobs, |job| job.spec.is_auto_book))
        .bind(column(jobs, |job| job.spec.retries_max))
        .bind(column(jobs, |job| i32::try_from(job.frames).unwrap_or(i32::MAX)))
        .bind(column(jobs, |job| i32::try_from(job.spec.layers.len()).unwrap_or(i32::MAX)));
    run(connection, "writing jobs", statement).await?;
    let statement = query(include_str!("sql/job_caps.sql"))
        .bind(&keys)
        .bind(column(jobs, |job| job.spec.priority))
        .bind(column(jobs, |job| job.spec.cores_max.get()))
        .bind(column(jobs, |job| job.spec.gpus_max.get()));
    run(connection, "capping jobs", statement).await?;
    let statement = query(include_str!("sql/job_counts.sql"));
    let frames = column(jobs, |job| i64::from(job.frames));
    run(connection, "counting jobs' frames", statement.bind(&keys).bind(frames)).await?;

    let variables: Vec<(&str, &str, &str)> = seeded
        .iter()
        .zip(jobs)
        .flat_map(|(job, planned)| {
            planned.spec.environment.iter().map(|(k, v)| (job.id.as_str(), k.as_str(), v.as_str()))
        })
        .collect();
    let statement = query(include_str!("sql/job_env.sql"))
        .bind(column(&variables, |_| plan.keys.next::<String>()))
        .bind(column(&variables, |(job, ..)| *job))
        .bind(column(&variables, |(_, name, _)| *name))
        .bind(column(&variables, |(.., value)| *value));
    run(connection, "writing jobs' environment", statement).await
}

async fn layers(connection: &mut PgConnection, plan: &mut FarmPlan<'_>) -> Result<(), SeedError> {
    let (seeded, layers) = (&plan.seeded.layers, &plan.layers);
    let keys = column(seeded, |layer| layer.id.as_str());
    let statement = query(include_str!("sql/layers.sql"))
        .bind(&keys)
        .bind(column(seeded, |layer| layer.job.as_str()))
        .bind(column(seeded, |layer| layer.name.as_str()))
        .bind(column(layers, |layer| layer.spec.command.as_str()))
        .bind(column(layers, |layer| layer.spec.range()))
        .bind(column(layers, |layer| i64::from(layer.spec.chunk_size)))
        .bind(column(layers, |layer| i64::from(layer.dispatch_order)))
        .bind(column(layers, |layer| layer.spec.cores_min.get()))
        .bind(column(layers, |layer| i32::try_from(layer.spec.cores_max.get()).unwrap_or(i32::MAX)))
        .bind(column(layers, |layer| layer.spec.memory.get()))
        .bind(column(layers, |layer| layer.spec.gpus.get()))
        .bind(column(layers, |layer| layer.spec.gpu_memory.get()))
        .bind(column(layers, |layer| layer.spec.tags.as_str()))
        .bind(column(layers, |layer| layer.spec.is_threadable))
        .bind(column(layers, |layer| layer.spec.services.as_str()));
    run(connection, "writing layers", statement).await?;
    let statement = query(include_str!("sql/layer_counts.sql"));
    let frames = column(seeded, |layer| i64::from(layer.frames));
    run(connection, "counting layers' frames", statement.bind(&keys).bind(frames)).await?;

    let statement = query(include_str!("sql/layer_limits.sql"))
        .bind(column(&plan.bound_limits, |_| plan.keys.next::<String>()))
        .bind(column(&plan.bound_limits, |(layer, _)| layer.as_str()))
        .bind(column(&plan.bound_limits, |(_, limit)| limit.as_str()));
    run(connection, "binding layers to limits", statement).await?;

    let mut variables: Vec<(&str, &str, &str, &str)> = Vec::new();
    for (layer, planned) in seeded.iter().zip(layers) {
        let of_layer = planned.spec.environment.iter();
        variables.extend(of_layer.map(|(k, v)| (layer.id.as_str(), layer.job.as_str(), k.as_str(), v.as_str())));
    }
    let statement = query(include_str!("sql/layer_env.sql"))
        .bind(column(&variables, |_| plan.keys.next::<String>()))
        .bind(column(&variables, |(layer, ..)| *layer))
        .bind(column(&variables, |(_, job, ..)| *job))
        .bind(column(&variables, |(.., name, _)| *name))
        .bind(column(&variables, |(.., value)| *value));
    run(connection, "writing layers' environment", statement).await?;

    let services = layers.iter().flat_map(|layer| layer.spec.services.split(',')).map(str::trim);
    let mut services: Vec<&str> = services.filter(|service| !service.is_empty()).collect();
    services.sort_unstable();
    services.dedup();
    let statement =
        query(include_str!("sql/services.sql")).bind(column(&services, |_| plan.keys.next::<String>())).bind(&services);
    run(connection, "writing services", statement).await
}

async fn frames(connection: &mut PgConnection, plan: &FarmPlan<'_>) -> Result<(), SeedError> {
    let layers: Vec<_> = plan.seeded.layers.iter().zip(&plan.layers).collect();
    let mut rest = layers.as_slice();
    while !rest.is_empty() {
        let mut frames = 0;
        let fitting = rest.iter().take_while(|(layer, _)| {
            let is_first = frames == 0;
            frames += u64::from(layer.frames);
            is_first || frames <= FRAMES_PER_STATEMENT
        });
        let (part, after) = rest.split_at(fitting.count());
        rest = after;
        let statement = query(include_str!("sql/frames.sql"))
            .bind(column(part, |(layer, _)| layer.id.as_str()))
            .bind(column(part, |(layer, _)| layer.job.as_str()))
            .bind(column(part, |(layer, _)| layer.name.as_str()))
            .bind(column(part, |(_, planned)| planned.dispatch_order))
            .bind(column(part, |(layer, _)| i32::try_from(layer.frames).unwrap_or(i32::MAX)))
            .bind(column(part, |(_, planned)| planned.spec.first_frame))
            .bind(column(part, |(_, planned)| i32::try_from(planned.spec.chunk_size).unwrap_or(i32::MAX)));
        run(connection, "writing frames", statement).await?;
    }
    Ok(())
}

async fn has_column(connection: &mut PgConnection, table: &str, column: &str) -> Result<bool, SeedError> {
    let statement = query_scalar(include_str!("sql/has_column.sql")).bind(table).bind(column);
    statement.fetch_one(connection).await.map_err(step("looking at the schema"))
}

async fn run(connection: &mut PgConnection, name: &'static str, statement: Statement<'_>) -> Result<(), SeedError> {
    statement.execute(connection).await.map(drop).map_err(step(name))
}

fn step(name: &'static str) -> impl FnOnce(sqlx::Error) -> SeedError {
    move |source| SeedError::Database { step: name, source }
}

/// One value of each row, as the statements take them.
fn column<'r, R, T>(rows: &'r [R], value: impl FnMut(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

const fn thread_mode(mode: ThreadMode) -> i32 {
    match mode {
        ThreadMode::Auto => 0,
        ThreadMode::All => 1,
        ThreadMode::Variable => 2,
    }
}

/// `host_tag.str_tag_type` as Cuebot spells it.
const fn tag_type(kind: TagKind) -> &'static str {
    match kind {
        TagKind::Manual => "MANUAL",
        TagKind::Hostname => "HOSTNAME",
        TagKind::Hardware => "HARDWARE",
    }
}
