//! Debian's `PgBouncer`, with its own defaults, in front of a server.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cue_scheduler::db::ConnectSettings;
use tempfile::TempDir;

use super::PATIENCE;

pub(crate) struct PgBouncer {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl PgBouncer {
    /// `mode`: what its settings say of `pool_mode`; empty where they say nothing.
    pub(crate) fn start(server: &ConnectSettings, mode: &str) -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let (users, settings) = (folder.path().join("users.txt"), folder.path().join("pgbouncer.ini"));
        let password = server.password.as_deref().unwrap_or_default();
        fs::write(&users, format!("\"{}\" \"{password}\"\n", server.user)).unwrap();
        // It refuses to run as root.
        let is_root = nix::unistd::geteuid().is_root();
        let user = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        let run_as = if is_root { "user = nobody\n" } else { "" };
        let text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_file = {}\n{run_as}{mode}\n",
            server.host,
            server.port,
            users.display(),
        );
        fs::write(&settings, text).unwrap();
        if is_root {
            for path in [folder.path(), &users, &settings] {
                chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            }
        }
        let mut command = Command::new("pgbouncer");
        // Debian puts it where only root looks.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        let process = command.arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let this = Self { process: process.expect("pgbouncer is installed: .ci/prepare test"), port, _folder: folder };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        this
    }

    /// The way through it.
    pub(crate) fn settings(&self, server: &ConnectSettings) -> ConnectSettings {
        ConnectSettings { host: Ipv4Addr::LOCALHOST.to_string(), port: self.port, ..server.clone() }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
