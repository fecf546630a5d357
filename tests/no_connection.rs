//! What is told where no connection comes about: one sentence with the place, the user and the remedy, and one
//! exit code, in every command.

use std::net::Ipv4Addr;

use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::schema::Generation;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::{Ran, database, program, run_program};

/// Each that looks at the database and ends.
fn commands(file: &str) -> [Vec<String>; 8] {
    [
        vec!["run", "--metrics_port", "0"],
        vec!["plan"],
        vec!["dry-run", "--cycles", "1"],
        vec!["clusters", "list"],
        vec!["explain", "job", "job"],
        vec!["exclusion-list"],
        vec!["config", "init", "--yes", file],
        vec!["check-db"],
    ]
    .map(|args| args.into_iter().map(str::to_owned).collect())
}

fn told(ran: &Ran, parts: &[&str]) {
    let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("error")).collect();
    let line = lines.last().unwrap_or_else(|| panic!("{ran:?}"));
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line:?}: {ran:?}");
    }
    assert!(!ran.stderr.contains("at line ") && !ran.stderr.contains("pool timed out"), "{ran:?}");
}

/// What `run` waits for ends with it, so it is left out where it would.
async fn all_say(settings: &ConnectSettings, waits: bool, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.yaml").display().to_string();
    let place = format!("{}:{}", settings.host, settings.port);
    let parts = [&[place.as_str(), &settings.user], parts].concat();
    for args in commands(&file).into_iter().filter(|args| !(waits && args[0] == "run")) {
        let (settings, args) = (settings.clone(), args.clone());
        let ran = tokio::task::spawn_blocking(move || {
            run_program(&settings, &args.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let ran = ran.await.unwrap();
        assert_eq!(ran.code, 1, "{ran:?}");
        told(&ran, &parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_so() {
    let database = database(Generation::G5).await;
    let settings = database.connect_settings().await;
    let wrong = ConnectSettings { password: Some("guess".to_owned()), ..settings.clone() };
    all_say(&wrong, false, &["does not take the password", "database.db_pass_file"]).await;
    let nowhere = ConnectSettings { name: "nowhere".to_owned(), ..settings };
    all_say(&nowhere, false, &["has no database nowhere", "check database.db_name"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_server_is_told_so() {
    let settings = |port| ConnectSettings {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port,
        user: "somebody".to_owned(),
        password: Some("secret".to_owned()),
        ..ConnectSettings::default()
    };
    // Of whoever listened there.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    all_say(&settings(free), true, &["nothing listens at", "database.db_port"]).await;

    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = mute.local_addr().unwrap().port();
    all_say(&settings(port), true, &["cannot be reached", "accepts connections and has not answered"]).await;

    let web = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = web.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = web.accept().await {
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    all_say(&settings(port), true, &["does not answer somebody as PostgreSQL does", "database.db_port"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_program_is_one_sentence() {
    let database = database(Generation::G5).await;
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").execute(&database.pool()).await.unwrap();
    let settings = database.connect_settings().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.yaml").display().to_string();
    for args in commands(&file).into_iter().filter(|args| args[0] != "check-db") {
        let ran = run_program(&settings, &args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.code, 1, "{ran:?}");
        let place = format!("the database {} at {}:{}", settings.name, settings.host, settings.port);
        told(&ran, &[&place, &settings.user, "is not Cuebot's", "it has 0 of its 26 tables", "database.db_name"]);
        assert!(!ran.stderr.contains("table frame"), "{ran:?}");
    }
}

#[test]
fn where_no_settings_file_is_that_is_said() {
    let nowhere = ConnectSettings { host: "/nonexistent".to_owned(), ..ConnectSettings::default() };
    let mut command = program(&nowhere);
    let output = command.args(["plan"]).output().unwrap();
    let ran = Ran::from(output);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("no settings file was found"), "{ran:?}");
    assert!(ran.stderr.contains("config init"), "{ran:?}");
}

#[test]
fn a_file_of_certificates_that_cannot_be_read_is_named() {
    let mut command = program(&ConnectSettings { host: "192.0.2.7".to_owned(), ..ConnectSettings::default() });
    command.env("OPENSCHEDULER_DATABASE__TLS", "verify-full");
    command.env("OPENSCHEDULER_DATABASE__TLS_ROOT_CERTIFICATE", "/nonexistent/authority.pem");
    let ran = Ran::from(command.arg("plan").output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    told(&ran, &["/nonexistent/authority.pem", "database.tls_root_certificate", "192.0.2.7:5432"]);
}

#[test]
fn a_url_in_place_of_a_host_is_repeated_nowhere() {
    let nowhere = ConnectSettings { host: "postgres://cue:hunter2@db/cue".to_owned(), ..ConnectSettings::default() };
    for args in [&["plan"][..], &["check-db"], &["config", "check"], &["config", "show"], &["run"]] {
        let ran = run_program(&nowhere, args);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("database.db_host") && ran.stderr.contains("a URL is not taken"), "{ran:?}");
        assert!(!ran.stderr.contains("hunter2") && !ran.stdout.contains("hunter2"), "{ran:?}");
    }
}
