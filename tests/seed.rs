//! A seeded farm against the real schema: whole, the same every time, and bookable.

use cue_scheduler::clusters;
use cue_scheduler::db::SnapshotOptions;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, HostNames, JobSpec, LayerSpec, Seeded, seed};
use cue_scheduler::model::{Selection, TagChunkSizes, TagKind};
use cue_scheduler::units::{Cores, Gpus, Kib};
use sqlx::PgPool;

use crate::support::{database, number, texts};

async fn seeded(pool: &PgPool, spec: &FarmSpec) -> Seeded {
    seed(pool, spec).await.expect("the description is sound")
}

#[tokio::test]
async fn every_generation_takes_the_demo_farm_with_all_its_companion_rows() {
    for generation in Generation::ALL {
        let database = database(generation).await;
        let pool = &database.pool();
        let farm = seeded(pool, &FarmSpec::demo(60, 12, 700, 5)).await;
        assert_eq!((farm.hosts.len(), farm.jobs.len(), farm.frames), (60, 12, 700), "{generation}");
        for (what, sql) in [
            ("frames", "SELECT count(*) - 700 FROM frame WHERE str_state = 'WAITING'"),
            (
                "hosts without a stat",
                "SELECT count(*) FROM host LEFT JOIN host_stat USING (pk_host) WHERE host_stat.pk_host IS NULL",
            ),
            ("hosts without flat tags", "SELECT count(*) FROM host WHERE coalesce(str_tags, '') = ''"),
            (
                "hosts without an allocation tag",
                "SELECT count(*) FROM host h WHERE (SELECT count(*) FROM host_tag t WHERE t.pk_host = h.pk_host AND t.str_tag_type = 'ALLOC') <> 1",
            ),
            (
                "folders with other than one resource row",
                "SELECT count(*) FROM folder f WHERE (SELECT count(*) FROM folder_resource r WHERE r.pk_folder = f.pk_folder) <> 1",
            ),
            (
                "jobs without a point",
                "SELECT count(*) FROM job j WHERE NOT EXISTS (SELECT FROM point p WHERE p.pk_show = j.pk_show AND p.pk_dept = j.pk_dept)",
            ),
            (
                "layers that miscount",
                "SELECT count(*) FROM layer_stat s WHERE (s.int_waiting_count, s.int_total_count) IS DISTINCT FROM (SELECT (count(*), count(*)) FROM frame f WHERE f.pk_layer = s.pk_layer)",
            ),
            (
                "jobs that miscount",
                "SELECT count(*) FROM job_stat s JOIN job j USING (pk_job) WHERE (s.int_waiting_count, j.int_frame_count::int8) IS DISTINCT FROM (SELECT (count(*), count(*)) FROM frame f WHERE f.pk_job = s.pk_job)",
            ),
            (
                "jobs that miscount layers",
                "SELECT count(*) FROM job j WHERE j.int_layer_count <> (SELECT count(*) FROM layer l WHERE l.pk_job = j.pk_job)",
            ),
            (
                "layers without history",
                "SELECT count(*) FROM layer LEFT JOIN layer_history USING (pk_layer) WHERE layer_history.pk_layer IS NULL",
            ),
            (
                "shows without stats",
                "SELECT count(*) FROM show LEFT JOIN show_stats USING (pk_show) WHERE show_stats.pk_show IS NULL",
            ),
        ] {
            assert_eq!(number(pool, sql).await, 0, "{what} in {generation}");
        }
        if generation >= Generation::G2 {
            assert_eq!(number(pool, "SELECT count(*) FROM show WHERE NOT b_scheduler_managed").await, 0);
        }
        if generation >= Generation::G1 {
            assert_eq!(number(pool, "SELECT count(*) FROM frame WHERE ts_eligible IS NULL").await, 0);
        }
        if generation >= Generation::G4 {
            assert_eq!(number(pool, "SELECT count(*) FROM limit_record WHERE str_type = 'HOST'").await, 1);
        }
    }
}

#[tokio::test]
async fn the_same_description_gives_the_same_rows() {
    let (one, other) = (database(Generation::G0).await, database(Generation::G0).await);
    let spec = FarmSpec::demo(20, 5, 100, 9);
    assert_eq!(seeded(&one.pool(), &spec).await, seeded(&other.pool(), &spec).await);
    let frames = "SELECT concat_ws(' ', pk_frame, pk_layer, str_name, int_number, int_dispatch_order, int_layer_order) FROM frame ORDER BY pk_frame";
    assert_eq!(texts(&one.pool(), frames).await, texts(&other.pool(), frames).await);
}

#[tokio::test]
async fn frames_are_named_and_ordered_as_at_submission() {
    let database = database(Generation::G0).await;
    let farm = FarmSpec::simple(3).each_job(|job| {
        job.layers.push(LayerSpec { first_frame: -1, ..LayerSpec::new("sim").frames(3) });
        job.layers.push(LayerSpec { first_frame: 9_990, ..LayerSpec::new("comp").frames(3).chunk_size(10) });
    });
    seeded(&database.pool(), &farm).await;
    let rows = "SELECT concat_ws(' ', f.str_name, f.int_number, f.int_dispatch_order, f.int_layer_order, l.str_range)
        FROM frame f JOIN layer l USING (pk_layer) ORDER BY f.int_layer_order, f.int_dispatch_order";
    assert_eq!(
        texts(&database.pool(), rows).await,
        [
            "0001-render 1 0 1 1-3",
            "0002-render 2 1 1 1-3",
            "0003-render 3 2 1 1-3",
            "-001-sim -1 0 2 -1-1",
            "0000-sim 0 1 2 -1-1",
            "0001-sim 1 2 2 -1-1",
            "9990-comp 9990 0 3 9990-10019",
            "10000-comp 10000 1 3 9990-10019",
            "10010-comp 10010 2 3 9990-10019",
        ]
    );
}

#[tokio::test]
async fn what_a_description_names_is_in_the_columns() {
    let database = database(Generation::G5).await;
    let pool = &database.pool();
    let spec = FarmSpec::simple(4)
        .limit("nuke", 2)
        .host_names(HostNames::Numbered { prefix: "render".into() })
        .each_host_class(|class| {
            class.tags.push(("sim".into(), TagKind::Manual));
            class.total.gpus = Gpus(2);
            class.total.gpu_memory = Kib::gib(8);
        })
        .each_folder(|folder| folder.cores_max = Some(Cores(1_500)))
        .each_job(|job| {
            *job = JobSpec {
                is_paused: true,
                os: Some("rhel9".into()),
                environment: vec![("A".into(), "1".into())],
                layers: std::mem::take(&mut job.layers),
                ..JobSpec::new("shade").priority(70).cores_max(Cores(2_000))
            };
        })
        .each_layer(|layer| {
            layer.cores_min = Cores(50);
            layer.limits = vec!["nuke".into()];
            layer.environment = vec![("B".into(), "2".into())];
        });
    seeded(pool, &spec).await;
    for (row, sql) in [
        (
            "render0001 local.general general render0001 sim",
            "SELECT concat_ws(' ', h.str_name, a.str_name, h.str_tags) FROM host h JOIN alloc a USING (pk_alloc)",
        ),
        (
            "800 800 33554432 2 8388608 OPEN UP rhel9",
            "SELECT concat_ws(' ', int_cores, int_cores_idle, int_mem_idle, int_gpus_idle, int_gpu_mem_idle, str_lock_state, str_state, str_os) FROM host JOIN host_stat USING (pk_host)",
        ),
        (
            "show-sh010-artist_shade show rhel9 t 70 2000",
            "SELECT concat_ws(' ', str_name, str_show, str_os, b_paused, int_priority, job_resource.int_max_cores) FROM job JOIN job_resource USING (pk_job)",
        ),
        (
            "comp 1500 -1 show",
            "SELECT concat_ws(' ', f.str_name, r.int_max_cores, r.int_max_gpus, p.str_name) FROM folder f JOIN folder_resource r USING (pk_folder) JOIN folder p ON p.pk_folder = f.pk_parent_folder",
        ),
        (
            "render 50 1-4 general nuke 2",
            "SELECT concat_ws(' ', l.str_name, int_cores_min, str_range, str_tags, r.str_name, int_max_value) FROM layer l JOIN layer_limit USING (pk_layer) JOIN limit_record r USING (pk_limit_record)",
        ),
        (
            "A=1 B=2",
            "SELECT concat_ws(' ', j.str_key || '=' || j.str_value, l.str_key || '=' || l.str_value) FROM job_env j, layer_env l",
        ),
    ] {
        assert_eq!(texts(pool, sql).await, [row]);
    }
}

#[tokio::test]
async fn a_full_size_farm_is_all_in_the_snapshot() {
    let database = database(Generation::G5).await;
    let farm = seeded(&database.pool(), &FarmSpec::demo(3_000, 200, 40_000, 1)).await;
    let store = database.store().await;
    let clusters = clusters::load(&store, &Selection::default(), TagChunkSizes::default()).await.expect("clusters");
    assert_eq!(clusters.left_out, []);
    let snapshot = store.load_snapshot(&clusters.clusters, &SnapshotOptions::default()).await.expect("a snapshot");
    assert_eq!(snapshot.left_out, []);
    assert_eq!(snapshot.hosts.len(), farm.hosts.len());
    assert!(snapshot.hosts.iter().all(|host| host.state.is_open()));
    assert_eq!(snapshot.candidates.len(), farm.layers.len());
    assert!(snapshot.candidates.iter().all(|candidate| !candidate.clusters.is_empty()));
    let waiting: u64 = snapshot.candidates.iter().map(|candidate| u64::from(candidate.waiting_frames)).sum();
    assert_eq!(waiting, farm.frames);
}

#[tokio::test]
async fn what_the_database_refuses_leaves_nothing_behind() {
    let database = database(Generation::G0).await;
    let spec = FarmSpec::simple(1).each_host_class(|class| class.tags.push(("x".repeat(60), TagKind::Manual)));
    let error = seed(&database.pool(), &spec).await.expect_err("the tag is too long");
    assert_eq!(error.to_string(), "failed writing host tags");
    assert_eq!(number(&database.pool(), "SELECT count(*) FROM facility").await, 0);
}
