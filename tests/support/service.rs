//! The program at work as a service, as a user starts it.

use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cue_scheduler::farm::sandbox::Sandbox;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{PATIENCE, program};

/// The program, and what it logs.
pub(crate) struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    _unread: Option<PipeReader>,
}

/// `run` on a sandbox's farm, with the pages at any free port.
pub(crate) fn service(sandbox: &Sandbox) -> Command {
    let mut command = program(sandbox.database());
    command.env("OPENSCHEDULER_RQD__GRPC_PORT", sandbox.rqd_port().to_string());
    command.env("OPENSCHEDULER_QUEUE__METRICS_PORT", "0").arg("run").stdin(Stdio::null());
    command
}

impl Running {
    /// Starts a command and reads its standard error.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (lines, stderr) = (Arc::clone(&log), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self { child, log, _unread: None }
    }

    /// Starts a command whose standard error is a pipe that nobody reads, and that is full; its log is what the
    /// file has.
    pub(crate) fn start_unread(mut command: Command) -> Self {
        let (unread, mut full) = std::io::pipe().unwrap();
        fcntl(&full, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        while full.write(&[b'.'; 4_096]).is_ok() {}
        while full.write(b".").is_ok() {}
        fcntl(&full, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        Self { child: command.stderr(full).spawn().unwrap(), log: Arc::default(), _unread: Some(unread) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn lines_with(&self, text: &str) -> Vec<String> {
        self.log().into_iter().filter(|line| line.contains(text)).collect()
    }

    /// Waits for a line with this text.
    pub(crate) async fn says(&self, text: &str) -> String {
        self.says_times(text, 1).await.remove(0)
    }

    /// Waits for so many.
    pub(crate) async fn says_times(&self, text: &str, times: usize) -> Vec<String> {
        let began = Instant::now();
        loop {
            let lines = self.lines_with(text);
            if lines.len() >= times {
                return lines;
            }
            assert!(began.elapsed() < PATIENCE, "{text} is not {times} times in {:#?}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where its pages are, once it says so.
    pub(crate) async fn pages(&self) -> SocketAddr {
        address_in(&self.says("metrics server listening").await)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end: the exit code, and `None` when a signal ended it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "it does not end: {:#?}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pages' address in the line that names it.
pub(crate) fn address_in(line: &str) -> SocketAddr {
    line.rsplit_once("address=").unwrap().1.trim().parse().unwrap()
}

/// Waits until a file has a line with this text.
pub(crate) async fn line_in(path: &Path, text: &str) -> String {
    let began = Instant::now();
    loop {
        let mut bytes = Vec::new();
        if let Ok(mut file) = std::fs::File::open(path) {
            file.read_to_end(&mut bytes).unwrap();
        }
        let found = String::from_utf8_lossy(&bytes).lines().find(|line| line.contains(text)).map(str::to_owned);
        if let Some(line) = found {
            return line;
        }
        assert!(began.elapsed() < PATIENCE, "{text} is not in {}", path.display());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A page with its head.
pub(crate) async fn page(pages: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(pages).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Waits until a page is so.
pub(crate) async fn page_until(pages: SocketAddr, path: &str, is_so: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let text = page(pages, path).await;
        if is_so(&text) {
            return text;
        }
        assert!(began.elapsed() < PATIENCE, "{path}: {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A series' value on the metrics page; 0 where there is none.
pub(crate) fn series(page: &str, name: &str) -> f64 {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}
