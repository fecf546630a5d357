//! A process without a file descriptor left says so, and goes on when there are some again.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::FarmSpec;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::farm::{assert_all_done, farm, quick_farm};
use crate::support::{database, program};

const LIMIT: Duration = Duration::from_secs(60);
const OF_CONNECTIONS: &str = "no file descriptor is left for connections to database or hosts; raise the limit";
const OF_PAGES: &str = "no file descriptor is left for these pages; raise the limit";

/// The program at work, and what it logs.
struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.arg("run").stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (lines, stderr) = (Arc::clone(&log), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self { child, log }
    }

    fn lines_with(&self, text: &str) -> Vec<String> {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
    }

    async fn says(&self, text: &str) -> String {
        let began = Instant::now();
        loop {
            if let Some(line) = self.lines_with(text).pop() {
                return line;
            }
            assert!(began.elapsed() < LIMIT, "{text} is not in {:#?}", self.log.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// From now on no file descriptor has this number or a higher one.
    fn limit_descriptors(&self, number: u32) {
        let pid = self.child.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={number}:")]).status().unwrap();
        assert!(limited.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn readiness(pages: SocketAddr) -> String {
    let mut stream = TcpStream::connect(pages).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortage_of_descriptors_is_called_so_once_and_work_goes_on_after_it() {
    let database = database(Generation::G5).await;
    let sandbox = farm(database.connect_settings().await, quick_farm(FarmSpec::simple(30).hosts(3))).await;
    sqlx::query("UPDATE job SET b_paused = true").execute(sandbox.pool()).await.unwrap();
    let mut command = program(sandbox.database());
    command.env("OPENSCHEDULER_RQD__GRPC_PORT", sandbox.rqd_port().to_string());
    command.env("OPENSCHEDULER_QUEUE__METRICS_PORT", "0");
    let running = Running::start(command);
    let listening = running.says("metrics server listening").await;
    let pages: SocketAddr = listening.rsplit_once("address=").unwrap().1.trim().parse().unwrap();
    running.says("Starting scheduler feed").await;
    let began = Instant::now();
    while !readiness(pages).await.starts_with("HTTP/1.1 200") {
        assert!(began.elapsed() < LIMIT);
    }

    running.limit_descriptors(3);
    sqlx::query("UPDATE job SET b_paused = false").execute(sandbox.pool()).await.unwrap();
    running.says(OF_CONNECTIONS).await;
    let asking = tokio::spawn(readiness(pages));
    running.says(OF_PAGES).await;

    running.limit_descriptors(1_024);
    let told = asking.await.unwrap();
    assert!(told.starts_with("HTTP/1.1 503"), "{told}");
    assert!(told.contains(&format!("\nfile descriptors: {OF_CONNECTIONS}")), "{told}");
    assert!(told.contains(&format!("\npages: {OF_PAGES}")), "{told}");
    assert_all_done(&sandbox).await;
    for text in [OF_CONNECTIONS, OF_PAGES] {
        assert_eq!(running.lines_with(text).len(), 1, "{:#?}", running.log.lock().unwrap());
    }
    drop(running);
    sandbox.stop().await;
}
