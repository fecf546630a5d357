//! Names that try to move the terminal, forge lines or run in a spreadsheet come out of every command, and out of
//! the service's log, as text.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, Seeded, ShowSpec, seed};
use cue_scheduler::model::TagKind;
use cue_scheduler::units::{Cores, Kib};

use crate::support::{TestDatabase, database, execute, program, run_program, texts};

/// A line of its own, a line overwritten, the terminal reset, and text that runs backwards.
const HOSTILE: &str = "\nerror: FORGED\r\u{1b}c\u{9b}\u{202e}";
const FORMS: [&str; 6] = ["table", "wide", "name", "csv", "json", "yaml"];

/// Shows, folders, jobs, layers, hosts, tags and allocations, all of them named by a stranger.
async fn hostile() -> (TestDatabase, ConnectSettings, Seeded) {
    let database = database(Generation::G5).await;
    let shade = JobSpec::new("shade")
        .layer(LayerSpec::new("render").frames(30))
        .layer(LayerSpec::new("huge").frames(5).memory(Kib::gib(900)))
        .layer(LayerSpec::new("night").frames(7).tags("urgent"));
    let show = ShowSpec::new("show").subscription("general", Cores::whole(1_000), Cores::whole(1_000));
    let spec = FarmSpec::empty()
        .alloc("general", "general")
        .host_class(HostClass::new("render", 2).tag("urgent", TagKind::Manual))
        .show(show.folder(FolderSpec::new("comp").job(shade)));
    let seeded = seed(&database.pool(), &spec).await.unwrap();
    let hostile = HOSTILE.replace('\'', "''");
    execute(
        &database.pool(),
        &format!(
            "UPDATE show SET str_name = '=' || str_name || '{hostile}';
             UPDATE facility SET str_name = str_name || '{hostile}';
             UPDATE alloc SET str_name = str_name || '{hostile}';
             UPDATE folder SET str_name = str_name || '{hostile}';
             UPDATE job SET str_name = '=' || str_name || '{hostile}';
             UPDATE layer SET str_name = '@' || str_name || '{hostile}';
             UPDATE frame SET str_name = str_name || '{hostile}';
             UPDATE host SET str_name = '-' || right(str_name, 5) || '{hostile}';
             UPDATE host_tag SET str_tag = str_tag || E'\\x1b[2J\u{202e}' WHERE str_tag = 'urgent';
             UPDATE host SET str_tags = str_tags || E'\\x1b[2J\u{202e}';
             UPDATE layer SET str_tags = str_tags || E'\\x1b[2J\u{202e}' WHERE str_tags = 'urgent';"
        ),
    )
    .await;
    let settings = database.connect_settings().await;
    (database, settings, seeded)
}

/// What a terminal would obey, but for the ends of lines.
fn obeyed(text: &str) -> String {
    let is_obeyed = |letter: &char| {
        (letter.is_control() && *letter != '\n') || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
    };
    text.chars().filter(is_obeyed).collect()
}

#[tokio::test]
async fn no_command_prints_what_a_terminal_obeys_or_a_line_that_others_wrote() {
    let (database, settings, seeded) = hostile().await;
    let (job, host) = (seeded.jobs[0].id.as_str(), seeded.hosts[0].id.as_str());
    let layer = seeded.layers[0].id.as_str();
    let frame = texts(&database.pool(), "SELECT pk_frame::text FROM frame LIMIT 1").await.remove(0);
    let commands: [&[&str]; 14] = [
        &["plan"],
        &["plan", "--summary"],
        &["plan", "--job", "zzz"],
        &["plan", "--show", "=sh0w"],
        &["clusters", "list"],
        &["clusters", "show", "local"],
        &["clusters", "show", "zzz"],
        &["explain", "job", job],
        &["explain", "job", "=show-sh010-artist_shado"],
        &["explain", "layer", layer],
        &["explain", "frame", &frame],
        &["explain", "host", host],
        &["check-db"],
        &["dry-run", "--cycles", "1"],
    ];
    let mut escapes = 0;
    for form in FORMS {
        for command in commands.iter().chain(&[&["exclusion-list"][..], &["exclusion-list", "--check"]]) {
            let ran = run_program(&settings, &[command, &["-o", form, "-v"][..]].concat());
            for text in [&ran.stdout, &ran.stderr] {
                assert_eq!(obeyed(text), "", "{command:?} -o {form}: {text:?}");
                let forged =
                    text.lines().find(|line| line.starts_with("error: FORGED") || line.starts_with("  error:"));
                assert_eq!(forged, None, "{command:?} -o {form}: {text}");
                escapes += text.matches("FORGED").count();
            }
            if form == "csv" {
                let cells = csv::Reader::from_reader(ran.stdout.as_bytes());
                for record in cells.into_records().map(Result::unwrap) {
                    let formula = record.iter().find(|cell| cell.starts_with(['=', '@', '+']));
                    assert_eq!(formula, None, "{command:?}: {record:?}");
                }
            }
        }
    }
    assert!(escapes > 200, "the names are not printed at all: {escapes}");
}

#[tokio::test]
async fn documents_say_the_names_as_they_are_and_a_name_is_one_line() {
    let (_database, settings, seeded) = hostile().await;
    let printed = |form: &str| run_program(&settings, &["clusters", "list", "-o", form]).stdout;
    let json: serde_json::Value = serde_json::from_str(&printed("json")).unwrap();
    let yaml: serde_json::Value = serde_yaml::from_str(&printed("yaml")).unwrap();
    assert_eq!(json, yaml);
    assert_eq!(json[0]["show"], format!("=show{HOSTILE}"));
    assert_eq!(printed("name").lines().count(), json.as_array().unwrap().len());
    let job = run_program(&settings, &["explain", "job", seeded.jobs[0].id.as_str(), "-o", "name"]);
    assert_eq!(job.stdout.lines().count(), 1, "{}", job.stdout);
}

/// A variant of ours is no tag, which careful readers of YAML refuse.
#[tokio::test]
async fn yaml_has_no_tags_of_ours() {
    let (_database, settings, seeded) = hostile().await;
    let layer = seeded.layers[1].id.as_str();
    let printed = |form: &str| run_program(&settings, &["explain", "layer", layer, "-o", form]).stdout;
    let (yaml, json) = (printed("yaml"), printed("json"));
    let tagged = yaml.lines().find(|line| line.contains(": !") || line.trim_start().starts_with("- !"));
    assert_eq!(tagged, None);
    let read = |value: &serde_json::Value| value["explanation"]["nearest"].clone();
    let (yaml, json) = (serde_yaml::from_str(&yaml).unwrap(), serde_json::from_str(&json).unwrap());
    assert_eq!(read(&yaml), read(&json));
    assert!(read(&json)["miss"]["room"].is_object(), "{json}");
}

#[tokio::test]
async fn the_services_log_has_no_line_that_others_wrote() {
    for json in [false, true] {
        let (_database, settings, _) = hostile().await;
        let mut service = program(&settings);
        // No host has such a name: each launch fails, and is told with its host.
        service.args(["run", "--metrics_port", "0"]).env("OPENSCHEDULER_QUEUE__CUEBOT_SILENCE", "off");
        service.env("OPENSCHEDULER_LOGGING__FORMAT", if json { "json" } else { "text" });
        let mut running = service.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(running.stderr.take().unwrap()).split(b'\n') {
            let line = String::from_utf8(line.unwrap()).unwrap();
            let is_named = line.contains("FORGED");
            lines.push(line);
            if is_named {
                break;
            }
        }
        running.kill().unwrap();
        running.wait().unwrap();
        for line in &lines {
            assert_eq!(obeyed(line), "", "{line:?}");
            let is_ours = if json { line.starts_with('{') } else { line.starts_with("20") };
            assert!(is_ours, "{line:?}");
        }
        assert!(lines.last().unwrap().contains("FORGED"), "the service names nobody: {lines:?}");
    }
}
