//! `config init`, answered at a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, seed};
use nix::pty::{Winsize, openpty};

use crate::support::{TestDatabase, database, program};

const LIMIT: Duration = Duration::from_mins(1);
const ENTER: &str = "\r";
const DOWN: &str = "\x1b[B";

/// A program with a terminal of its own.
pub(crate) struct Terminal {
    keys: File,
    shown: Receiver<Vec<u8>>,
    /// Shown, and not waited for yet.
    rest: String,
    child: Child,
}

impl Terminal {
    pub(crate) fn start(mut command: std::process::Command) -> Self {
        let size = Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).unwrap();
        // Copies are closed in children that other tests start.
        let side = |side: &OwnedFd| side.try_clone().unwrap();
        let child =
            command.stdin(side(&pair.slave)).stdout(side(&pair.slave)).stderr(side(&pair.slave)).spawn().unwrap();
        let (keys, mut screen) = (File::from(side(&pair.master)), File::from(side(&pair.master)));
        let (sender, shown) = channel();
        // Ends with an error when the last who has the terminal open is gone.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = screen.read(&mut bytes) {
                if read == 0 || sender.send(bytes[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { keys, shown, rest: String::new(), child }
    }

    /// Waits until this is shown, and answers. Returns what was shown before it.
    pub(crate) fn answer(&mut self, question: &str, keys: &str) -> String {
        while !self.rest.contains(question) {
            let Ok(bytes) = self.shown.recv_timeout(LIMIT) else {
                panic!("waited for {question:?}, and there is {:?}", self.rest);
            };
            self.rest.push_str(&String::from_utf8_lossy(&bytes));
        }
        let end = self.rest.find(question).unwrap() + question.len();
        let before = self.rest.drain(..end).collect();
        self.keys.write_all(keys.as_bytes()).unwrap();
        before
    }

    /// Waits for its end; whether it was content.
    fn has_succeeded(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may wait for an answer that a failed test does not give.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The questions up to those for shows and tags.
async fn connected(database: &TestDatabase, folder: &tempfile::TempDir) -> (Terminal, PathBuf) {
    let settings = database.connect_settings().await;
    let (file, password) = (folder.path().join("scheduler.yaml"), folder.path().join("password"));
    // A typed password would be lost where it comes before the question.
    std::fs::write(&password, settings.password.as_deref().unwrap()).unwrap();
    let mut command = program(&settings);
    command.env_remove("OPENSCHEDULER_DATABASE__DB_PASS");
    command.args(["config", "init", "--db-pass-file"]).args([&password, &file]);
    let mut terminal = Terminal::start(command);
    for question in ["Host of Cuebot's PostgreSQL", "Port", "Database", "User", "Encrypted"] {
        terminal.answer(question, ENTER);
    }
    (terminal, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn choosing_nothing_is_not_choosing_everything() {
    for (generation, everything) in
        [(Generation::G0, "everything"), (Generation::G5, "all shows that are flagged for a scheduler")]
    {
        let database = database(generation).await;
        seed(&database.pool(), &FarmSpec::simple(3).hosts(3)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let nothing = format!("Nothing is chosen, so it will serve: {everything}. Is that meant?");

        // Enter where the space bar chooses, and Enter again: asked anew, and nothing is written.
        let (mut terminal, file) = connected(&database, &folder).await;
        terminal.answer("What is served", &format!("{DOWN}{ENTER}"));
        terminal.answer("Shows (space chooses)", ENTER);
        terminal.answer(&nothing, ENTER);
        terminal.answer("What is served", &format!("{DOWN}{ENTER}"));
        assert!(!file.exists());
        terminal.answer("Shows (space chooses)", &format!(" {ENTER}"));
        terminal.answer("Allocation tags of show", ENTER);
        terminal.answer("Port of the metrics", ENTER);
        terminal.answer("will serve: show:general", "");
        terminal.answer("Write ", ENTER);
        assert!(terminal.has_succeeded());
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("\n  alloc_tags: [\"show:general\"]\n"), "{text}");
        std::fs::remove_file(&file).unwrap();

        // It may be meant.
        let (mut terminal, file) = connected(&database, &folder).await;
        terminal.answer("What is served", &format!("{DOWN}{ENTER}"));
        terminal.answer("Shows (space chooses)", ENTER);
        terminal.answer(&nothing, "y");
        terminal.answer("Port of the metrics", ENTER);
        terminal.answer(&format!("will serve: {everything}"), "");
        terminal.answer("Write ", ENTER);
        assert!(terminal.has_succeeded());
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("\n  #alloc_tags: []\n") && text.contains("\n  #manual_tags: []\n"), "{text}");
    }
}
