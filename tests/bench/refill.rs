//! Frames that take whole hosts, one after the other: how many more or fewer are launched with each rule for the
//! load that hosts report. `make bench ARGS=--refill`.

use std::time::{Duration, Instant};

use cue_scheduler::farm::fleet::RunTime;
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer};
use cue_scheduler::farm::progress::Unwatched;
use cue_scheduler::farm::sandbox::{Sandbox, SandboxOptions};
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::units::Cores;

use crate::beside::Daemon;
use crate::{Program, ROUNDS, copy, farm_of, make_template, median};

const HOSTS: usize = 60;
const RUN_TIME: Duration = Duration::from_secs(2);
/// Until the averages of a minute hold enough of what has ended.
const WARM_UP: Duration = Duration::from_secs(20);
const WATCHED: Duration = Duration::from_secs(20);
const RULES: [&str; 3] = ["off", "foreign", "cuebot"];

pub(crate) async fn measure() {
    let server = PostgresServer::start(&PostgresOptions::default()).await.expect("PostgreSQL starts");
    make_template(&server).await;
    let mut rates: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        for (rates, rule) in rates.iter_mut().zip(RULES) {
            rates.push(frames_per_second(&server, &format!("{rule}{round}"), rule).await);
        }
    }
    server.stop().await;
    let seconds = RUN_TIME.as_secs();
    println!("frames of {seconds} s that take all cores, on {HOSTS} hosts; frames/s, medians of {ROUNDS}, in turn");
    let off = median(rates[0].clone());
    for (rates, rule) in rates.into_iter().zip(RULES) {
        let rate = median(rates);
        println!("  queue.host_load: {rule:<10} {rate:>8.1}   {:>6.3} of that with off", rate / off);
    }
}

async fn frames_per_second(server: &PostgresServer, name: &str, rule: &'static str) -> f64 {
    let spec = farm_of(HOSTS, 12_000).each_layer(|layer| {
        layer.cores_min = Cores::whole(8);
        layer.is_threadable = true;
    });
    let options = SandboxOptions {
        generation: Generation::G5,
        run_time: RunTime::Fixed(RUN_TIME),
        report_interval: Duration::from_secs(5),
        ..SandboxOptions::new(spec)
    };
    let sandbox = Sandbox::start(copy(server, name).await, options, &Unwatched).await.expect("the farm comes up");
    let keys = [("OPENSCHEDULER_QUEUE__HOST_LOAD", rule)];
    let daemon = Daemon::start(&Program { keys: &keys, ..Program::this() }, &sandbox);
    tokio::time::sleep(WARM_UP).await;
    let (launched, began) = (sandbox.launches().len(), Instant::now());
    tokio::time::sleep(WATCHED).await;
    let frames = f64::from(u32::try_from(sandbox.launches().len() - launched).expect("few"));
    let rate = frames / began.elapsed().as_secs_f64();
    drop(daemon);
    sandbox.stop().await;
    rate
}
