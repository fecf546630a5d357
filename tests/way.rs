//! The way to the database: no password in clear to another machine, and it is told how the way is.
//!
//! What another machine is, these tests say: every address but a socket's is one.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use cue_scheduler::config::Tls;
use cue_scheduler::db::{ConnectSettings, Encryption, Named, Store, StoreError, Way, connect_once, names, stays_here};
use cue_scheduler::farm::postgres::{PostgresOptions, PostgresServer, RestartMode};
use cue_scheduler::farm::schema::{self, Generation};
use cue_scheduler::model::{Selection, TagChunkSizes};
use cue_scheduler::ops::check::{Status, Wanted, check};
use cue_scheduler::telemetry::error_chain;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{database, program, run_program};

const PASSWORD: &str = "known to two";

/// One that asks each user otherwise: `clear`, `hashed`, `scrammed`, and refuses `nobody`.
async fn server() -> PostgresServer {
    let server = PostgresServer::start(&PostgresOptions::default()).await.unwrap();
    server.create_database("farm", None).await.unwrap();
    let mut connection = server.connect_options("farm").connect().await.unwrap();
    schema::create(&mut connection, Generation::G5).await.unwrap();
    for user in ["clear", "hashed", "scrammed", "nobody"] {
        let kind = if user == "hashed" { "md5" } else { "scram-sha-256" };
        let create =
            format!("SET password_encryption = '{kind}'; CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{PASSWORD}'");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    ask_by(&server, "password").await;
    server
}

/// Lets it ask for the password of `clear` by this method.
async fn ask_by(server: &PostgresServer, method: &str) {
    let first = format!(
        "host all clear all {method}\nlocal all clear {method}\nhost all hashed all md5\nhost all nobody all reject\n\
         host all scrammed all scram-sha-256\n"
    );
    let file = server.folder().join("data/pg_hba.conf");
    let rest = fs::read_to_string(&file).unwrap();
    let rest: Vec<&str> = rest.lines().filter(|line| !line.contains(" all ") || line.starts_with('#')).collect();
    let initial = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(&file, format!("{first}{initial}{}\n", rest.join("\n"))).unwrap();
    server.restart(RestartMode::Fast).await.unwrap();
}

async fn offer_tls(server: &PostgresServer, is_on: bool) {
    let (source, data) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls"), server.folder().join("data"));
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&data).unwrap());
    for name in ["server.pem", "server.key"] {
        let file = data.join(name);
        fs::copy(source.join(name), &file).unwrap();
        std::os::unix::fs::chown(&file, Some(owner), None).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let mut connection = server.connect_options("farm").connect().await.unwrap();
    let set = format!(
        "ALTER SYSTEM SET ssl_cert_file = 'server.pem'; ALTER SYSTEM SET ssl_key_file = 'server.key';
         ALTER SYSTEM SET ssl = {is_on}"
    );
    for set in set.split(';') {
        sqlx::raw_sql(AssertSqlSafe(set.to_owned())).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    server.restart(RestartMode::Fast).await.unwrap();
}

/// As if the server were on another machine.
fn elsewhere(server: &PostgresServer, user: &str, tls: Tls) -> ConnectSettings {
    ConnectSettings {
        user: user.to_owned(),
        password: Some(PASSWORD.to_owned()),
        tls,
        pool_size: 2,
        stays_here: |_| false,
        ..server.connect_settings("farm")
    }
}

async fn way_of(settings: &ConnectSettings) -> Result<Way, StoreError> {
    let (connection, way) = connect_once(settings).await?;
    connection.close().await.unwrap();
    let store = Store::connect(settings).await?;
    assert_eq!(store.way(), Some(way));
    store.ping().await.unwrap();
    store.close().await;
    Ok(way)
}

fn is_in_clear<T>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(error @ StoreError::ClearText { .. }) => error_chain(&error),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it went there"),
    }
}

/// Whether a connection can be had that was not there before the server went down.
async fn anew(store: &Store) -> Result<(), StoreError> {
    // Those that are left of then end with this.
    while let Err(error) = store.ping().await
        && error_chain(&error).contains("terminating connection")
    {}
    store.ping().await
}

fn wanted() -> Wanted {
    Wanted {
        selection: Selection::default(),
        chunk_sizes: TagChunkSizes::default(),
        host_staleness: std::time::Duration::from_mins(2),
        book_beside_foreign_planner: false,
        instances: 1,
        agents: None,
    }
}

async fn tls_check(settings: &ConnectSettings) -> (Status, String) {
    let checks = Box::pin(check(settings, &wanted())).await.unwrap();
    let check = checks.into_iter().find(|check| check.name == "tls").unwrap();
    (check.status, check.found)
}

const IN_THE_OPEN: Way = Way { encryption: Encryption::None, is_local: false };

#[tokio::test]
async fn a_password_is_given_in_clear_to_this_machine_only_unless_that_is_allowed() {
    let server = server().await;
    for tls in [Tls::Disable, Tls::Prefer] {
        let settings = elsewhere(&server, "clear", tls);
        let told = is_in_clear(Store::connect(&settings).await);
        for part in [&settings.host, &settings.port.to_string(), "clear", "scram-sha-256", "database.tls"] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        assert!(told.contains("database.allow_cleartext_password") && !told.contains(PASSWORD), "{told}");
        is_in_clear(connect_once(&settings).await);
        is_in_clear(names(&settings, Named::Show, "").await);
        is_in_clear(Box::pin(check(&settings, &wanted())).await);

        let allowed = ConnectSettings { allow_cleartext_password: true, ..settings.clone() };
        assert_eq!(way_of(&allowed).await.unwrap(), IN_THE_OPEN);
        let here = Way { is_local: true, ..IN_THE_OPEN };
        assert_eq!(way_of(&ConnectSettings { stays_here, ..settings.clone() }).await.unwrap(), here);
        let socket = server.folder().display().to_string();
        assert_eq!(way_of(&ConnectSettings { host: socket, ..settings.clone() }).await.unwrap(), here);
        // Where the driver would find another one.
        let none = ConnectSettings { password: None, ..settings };
        is_in_clear(Store::connect(&none).await);

        for user in ["scrammed", "hashed"] {
            let settings = elsewhere(&server, user, tls);
            assert_eq!(way_of(&settings).await.unwrap(), IN_THE_OPEN, "{user}");
        }
    }
    let settings = elsewhere(&server, "scrammed", Tls::Prefer);
    assert_eq!(tls_check(&settings).await, (Status::Warning, "not encrypted".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn errors_are_the_drivers_own() {
    let server = server().await;
    let told = async |settings: ConnectSettings| match Store::connect(&settings).await {
        Err(error @ StoreError::Connect { .. }) => error_chain(&error),
        other => panic!("{other:?}"),
    };
    let settings = elsewhere(&server, "nobody", Tls::Prefer);
    let refused = told(settings.clone()).await;
    assert!(refused.contains("pg_hba.conf rejects connection"), "{refused}");
    let wrong = ConnectSettings { password: Some("guess".to_owned()), ..elsewhere(&server, "scrammed", settings.tls) };
    let wrong = told(wrong).await;
    assert!(wrong.contains("password authentication failed") && !wrong.contains("guess"), "{wrong}");
    let unknown = told(ConnectSettings { host: "no-such-host.invalid".to_owned(), ..settings.clone() }).await;
    assert!(unknown.contains("no-such-host.invalid"), "{unknown}");
    server.stop_server(RestartMode::Fast).await.unwrap();
    let away = Store::connect(&settings).await.unwrap_err();
    assert!(away.is_connection_lost(), "{away:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_offers_encryption_is_only_reached_encrypted() {
    let server = server().await;
    offer_tls(&server, true).await;
    // It would ask for it in clear, and the way is not.
    let settings = elsewhere(&server, "clear", Tls::Prefer);
    let way = Way { encryption: Encryption::Unverified, is_local: false };
    assert_eq!(way_of(&settings).await.unwrap(), way);
    let (status, found) = tls_check(&settings).await;
    assert_eq!((status, found.as_str()), (Status::Warning, "TLSv1.3, certificate not verified"));
    let here = ConnectSettings { stays_here, ..settings.clone() };
    let found = "TLSv1.3, certificate not verified, and stays on this machine".to_owned();
    assert_eq!(tls_check(&here).await, (Status::Ok, found));
    is_in_clear(Store::connect(&ConnectSettings { tls: Tls::Disable, ..settings.clone() }).await);
    for (tls, encryption) in [(Tls::VerifyCa, Encryption::OfAuthority), (Tls::VerifyFull, Encryption::OfHost)] {
        let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls/authority.pem");
        let verified = ConnectSettings { tls, tls_root_certificate: Some(authority), ..settings.clone() };
        assert_eq!(way_of(&verified).await.unwrap(), Way { encryption, is_local: false });
        let (status, found) = tls_check(&verified).await;
        assert_eq!((status, found.starts_with("TLSv1.3, certificate ")), (Status::Ok, true), "{found}");
    }

    // What the pool opens later does not fall back.
    let store = Store::connect(&settings).await.unwrap();
    offer_tls(&server, false).await;
    let refused = anew(&store).await.unwrap_err();
    assert!(error_chain(&refused).contains("does not support TLS"), "{}", error_chain(&refused));
    is_in_clear(store.look_at_way().await);
    offer_tls(&server, true).await;
    store.look_at_way().await.unwrap();
    anew(&store).await.unwrap();
    store.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_comes_back_asking_in_clear_is_told_nothing_more() {
    let server = server().await;
    ask_by(&server, "scram-sha-256").await;
    let store = Store::connect(&elsewhere(&server, "clear", Tls::Prefer)).await.unwrap();
    store.ping().await.unwrap();
    ask_by(&server, "password").await;
    is_in_clear(store.look_at_way().await);
    let refused = anew(&store).await.unwrap_err();
    assert!(error_chain(&refused).contains("empty password"), "{}", error_chain(&refused));
    ask_by(&server, "scram-sha-256").await;
    store.look_at_way().await.unwrap();
    anew(&store).await.unwrap();
    store.close().await;
    server.stop().await;
}

/// A server that answers each connection with the next of these, a part after each message. What it was
/// told is collected.
async fn scripted(script: Vec<Vec<Vec<u8>>>) -> (ConnectSettings, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&told);
    tokio::spawn(async move {
        for parts in script {
            let (mut connection, _) = listener.accept().await.unwrap();
            for part in parts {
                hear(&mut connection, &hearing).await;
                if connection.write_all(&part).await.is_err() {
                    break;
                }
            }
            hear(&mut connection, &hearing).await;
        }
    });
    let settings = ConnectSettings {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port,
        password: Some(PASSWORD.to_owned()),
        stays_here: |_| false,
        ..ConnectSettings::default()
    };
    (settings, told)
}

async fn hear(connection: &mut TcpStream, told: &Mutex<Vec<u8>>) {
    let mut piece = [0; 4096];
    let length = connection.read(&mut piece).await.unwrap_or(0);
    told.lock().unwrap().extend_from_slice(&piece[..length]);
}

fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, payload].concat()
}

fn asks_in_clear() -> Vec<u8> {
    message(b'R', &[0, 0, 0, 3])
}

fn error(code: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0VFATAL\0C{code}\0Mnot now\0\0").as_bytes())
}

fn no() -> Vec<u8> {
    b"N".to_vec()
}

fn was_told(told: &Mutex<Vec<u8>>, text: &str) -> bool {
    told.lock().unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn nothing_but_who_asks_is_told_to_a_server_that_asks_in_clear() {
    let notice = message(b'N', b"SNOTICE\0Mhello\0\0");
    let (settings, told) = scripted(vec![vec![no(), [notice, asks_in_clear()].concat()]]).await;
    is_in_clear(Store::connect(&settings).await);
    assert!(was_told(&told, "postgres") && !was_told(&told, PASSWORD));
}

#[tokio::test]
async fn a_server_that_offers_encryption_and_takes_it_back_is_told_nothing() {
    let (settings, told) = scripted(vec![vec![b"S".to_vec()], vec![no()]]).await;
    let error = Store::connect(&settings).await.unwrap_err();
    assert!(error_chain(&error).contains("does not support TLS"), "{}", error_chain(&error));
    assert!(!was_told(&told, "postgres") && !was_told(&told, PASSWORD));
}

#[tokio::test]
async fn a_server_that_is_coming_up_is_tried_again_and_told_nothing_meanwhile() {
    let starting = || vec![no(), error("57P03")];
    let (settings, told) = scripted(vec![starting(), starting()]).await;
    let away = Store::connect(&settings).await.unwrap_err();
    assert!(away.is_connection_lost(), "{away:?}");
    // It is there between our look and the driver's.
    let up = vec![no(), asks_in_clear(), error("28P01")];
    let (settings, told_later) = scripted(vec![starting(), up, vec![no(), asks_in_clear()]]).await;
    is_in_clear(Store::connect(&settings).await);
    assert!(!was_told(&told, PASSWORD) && !was_told(&told_later, PASSWORD));
}

#[tokio::test]
async fn what_is_no_server_is_told_nothing() {
    let too_long = [&[b'R'][..], &u32::MAX.to_be_bytes()].concat();
    for answer in [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), too_long, message(b'Z', b"I")] {
        let connection = vec![no(), answer];
        let (settings, told) = scripted(vec![connection.clone(), connection]).await;
        let error = Store::connect(&settings).await.unwrap_err();
        assert!(matches!(error, StoreError::Connect { .. }), "{error:?}");
        assert!(!was_told(&told, PASSWORD));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_at_start_how_the_way_is() {
    let database = database(Generation::G5).await;
    let mut command = program(&database.connect_settings().await);
    command.args(["run", "--metrics_port", "0"]).env("OPENSCHEDULER_QUEUE__EMPTY_JOB_CYCLES_BEFORE_QUITING", "1");
    let output = command.env("OPENSCHEDULER_DATABASE__TLS", "prefer").stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let lines = log.lines().filter(|line| line.contains("the connection to the database is "));
    let told: Vec<&str> = lines.map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(told, ["the connection to the database is not encrypted, and stays on this machine"], "{log}");
}

/// An address of this machine that others know; nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !stays_here(*address))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_keeps_the_password_to_itself() {
    // A machine without a network has no other address.
    let Some(address) = own_address() else { return };
    let server = server().await;
    let mut connection = server.connect_options("farm").connect().await.unwrap();
    sqlx::raw_sql("ALTER SYSTEM SET listen_addresses = '*'").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    server.restart(RestartMode::Fast).await.unwrap();
    let settings = ConnectSettings { host: address.to_string(), ..elsewhere(&server, "clear", Tls::Prefer) };
    for (arguments, code) in [(&["check-db"][..], 1), (&["run", "--metrics_port", "0"], 1), (&["clusters", "list"], 1)]
    {
        let ran = run_program(&settings, arguments);
        assert_eq!(ran.code, code, "{ran:?}");
        let told = format!("the server at {address}:{} wants the password of clear in clear", settings.port);
        assert!(ran.stderr.contains(&told) && !ran.stderr.contains(PASSWORD), "{ran:?}");
    }
    let mut command = program(&settings);
    command.arg("check-db").env("OPENSCHEDULER_DATABASE__ALLOW_CLEARTEXT_PASSWORD", "true");
    let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(told.lines().any(|line| line.starts_with("tls ") && line.ends_with("not encrypted")), "{told}");
    server.stop().await;
}
