//! Configuration as an operator meets it: files, variables and flags in, settings or complaints out.

use std::path::PathBuf;
use std::time::Duration;

use cue_scheduler::config::{ConfigError, FlagValue, Inputs, Loaded, load};
use cue_scheduler::model::AllocTag;

/// The sample of the published guide, as an operator copies it.
const GUIDE: &str = "\
logging:
  level: info,sqlx=warn

database:
  pool_size: 20
  db_host: your-postgres-host
  db_name: cuebot
  db_user: cuebot
  db_pass: your_password
  db_port: 5432

rqd:
  grpc_port: 8444
  dry_run_mode: false  # Set to true for testing without actual dispatch

queue:
  monitor_interval: 5s
  worker_threads: 4
  dispatch_frames_per_layer_limit: 20
  manual_tags_chunk_size: 100
  hostname_tags_chunk_size: 300

scheduler:
  # Optional: Filter to a specific facility
  # facility: spi
  
  # Process these allocation clusters (show:tag format)
  alloc_tags:
    - show: myshow
      tag: general
    - show: anothershow
      tag: priority
  
  # Process these manual tags
  manual_tags:
    - urgent
    - desktop
";

/// Settings of a file with `text`, given variables and flags.
struct Given {
    folder: tempfile::TempDir,
    inputs: Inputs,
}

impl Given {
    fn nothing() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), inputs: Inputs::default() }
    }

    fn file(text: impl AsRef<[u8]>) -> Self {
        let mut given = Self::nothing();
        let path = given.path("scheduler.yaml");
        std::fs::write(&path, text).unwrap();
        given.inputs.file = Some(path);
        given
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.inputs.environment.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, flag: FlagValue) -> Self {
        self.inputs.flags.push(flag);
        self
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.inputs)
    }

    /// What is printed, without the folder.
    fn complaints(&self) -> String {
        let error = self.load().expect_err("these settings are wrong");
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

#[test]
fn the_guides_sample_loads() {
    let loaded = Given::file(GUIDE).load().unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.database.db_host, "your-postgres-host");
    assert_eq!(config.database.db_pass.as_ref().unwrap().reveal(), "your_password");
    assert_eq!(config.queue.monitor_interval, Duration::from_secs(5));
    let tag = |show: &str, tag: &str| AllocTag { show: show.to_owned(), tag: tag.to_owned() };
    assert_eq!(config.scheduler.alloc_tags, [tag("myshow", "general"), tag("anothershow", "priority")]);
    assert_eq!(config.selection().manual_tags, ["urgent", "desktop"]);
}

#[test]
fn all_problems_are_told_at_once() {
    let given = Given::file("queue:\n  monitor_intervall: 5s\n  worker_threads: four\nloging:\n  level: info\n");
    assert_eq!(
        given.complaints(),
        "Failed to load config file scheduler.yaml
  line 2: queue.monitor_intervall: unknown key; did you mean queue.monitor_interval?
  line 3: queue.worker_threads: expected a whole number from 1 to 1024, found \"four\"
  line 4: loging: unknown key; did you mean logging?"
    );
}
