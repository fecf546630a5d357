//! A process without a file descriptor left says so, and goes on when there are some again.

use std::process::Command;

use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::FarmSpec;

use crate::support::database;
use crate::support::farm::{assert_all_done, farm, quick_farm};
use crate::support::service::{Running, page, page_until, service};

const OF_CONNECTIONS: &str = "no file descriptor is left for connections to database or hosts; raise the limit";
const OF_PAGES: &str = "no file descriptor is left for these pages; raise the limit";

/// From now on no file descriptor has this number or a higher one.
fn limit_descriptors(running: &Running, number: u32) {
    let pid = running.id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={number}:")]).status().unwrap();
    assert!(limited.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortage_of_descriptors_is_called_so_once_and_work_goes_on_after_it() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(FarmSpec::simple(30).hosts(3))).await;
    sqlx::query("UPDATE job SET b_paused = true").execute(sandbox.pool()).await.unwrap();
    let running = Running::start(service(&sandbox));
    let pages = running.pages().await;
    page_until(pages, "/readyz", |text| text.starts_with("HTTP/1.1 200")).await;

    limit_descriptors(&running, 3);
    sqlx::query("UPDATE job SET b_paused = false").execute(sandbox.pool()).await.unwrap();
    running.says(OF_CONNECTIONS).await;
    let asking = tokio::spawn(page(pages, "/readyz"));
    running.says(OF_PAGES).await;

    limit_descriptors(&running, 1_024);
    let told = asking.await.unwrap();
    assert!(told.starts_with("HTTP/1.1 503"), "{told}");
    assert!(told.contains(&format!("\nfile descriptors: {OF_CONNECTIONS}")), "{told}");
    assert!(told.contains(&format!("\npages: {OF_PAGES}")), "{told}");
    assert_all_done(&sandbox).await;
    for text in [OF_CONNECTIONS, OF_PAGES] {
        assert_eq!(running.lines_with(text).len(), 1, "{:#?}", running.log());
    }
    drop(running);
    sandbox.stop().await;
}
