//! `exclusion-list`: what Cuebot must be told, whether a file says so, and files that stay whole.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cue_scheduler::db::ConnectSettings;
use cue_scheduler::farm::schema::Generation;
use cue_scheduler::farm::seed::{FarmSpec, FolderSpec, HostClass, JobSpec, LayerSpec, ShowSpec, seed};
use cue_scheduler::model::TagKind;
use cue_scheduler::units::Cores;
use insta::assert_snapshot;

use crate::support::{Ran, TestDatabase, database, database_variables, fingerprint, read_only_settings, run_program};

const COMMAND: &str = "exclusion-list";
/// Named so that the hostname and manual clusters of the whole farm stay away.
const OURS: &str = "--alloc_tags=alpha:general,alpha:desktop";

/// Show alpha on two allocations, beta on one; both have work, some of alpha's for a manual tag.
async fn farm(generation: Generation) -> TestDatabase {
    let database = database(generation).await;
    let job = |name: &str, tags: &str| JobSpec::new(name).layer(LayerSpec::new("render").frames(3).tags(tags));
    let cores = Cores::whole(100);
    let spec = FarmSpec { is_scheduler_managed: false, ..FarmSpec::empty() }
        .alloc("general", "general")
        .alloc("desk", "desktop")
        .host_class(HostClass::new("render", 2).tag("urgent", TagKind::Manual))
        .host_class(HostClass::new("desk", 1).alloc("desk"))
        .show(
            ShowSpec::new("alpha")
                .subscription("general", cores, cores)
                .subscription("desk", cores, cores)
                .folder(FolderSpec::new("comp").job(job("shade", "general")).job(job("night", "urgent"))),
        )
        .show(
            ShowSpec::new("beta")
                .subscription("general", cores, cores)
                .folder(FolderSpec::new("comp").job(job("shade", "general | urgent"))),
        );
    seed(&database.pool(), &spec).await.unwrap();
    database
}

async fn flag(database: &TestDatabase, show: &str) {
    let set = "UPDATE show SET b_scheduler_managed = true WHERE str_name = $1";
    assert_eq!(sqlx::query(set).bind(show).execute(&database.pool()).await.unwrap().rows_affected(), 1);
}

fn run(settings: &ConnectSettings, args: &[&str]) -> Ran {
    run_program(settings, &[&[COMMAND], args].concat())
}

/// A folder with one properties file.
struct File(tempfile::TempDir);

impl File {
    fn new(text: &str) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        fs::write(file.path(), text).unwrap();
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("opencue.properties")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// What stands in the folder beside the file.
    fn others(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| *path != self.path()).collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn the_list_is_one_sorted_line_and_the_rest_is_said_beside_it() {
    let database = farm(Generation::G0).await;
    let settings = database.connect_settings().await;
    let named = run(&settings, &[OURS]);
    assert_eq!(
        (named.code, named.stdout.as_str()),
        (0, "dispatcher.exclusion_list=alpha:local.desk,alpha:local.general\n")
    );
    assert_snapshot!("exclusion_list_named", named.stderr);
    let all = run(&settings, &[]);
    assert_eq!(
        (all.code, all.stdout.as_str()),
        (0, "dispatcher.exclusion_list=alpha:local.desk,alpha:local.general,beta:local.general\n")
    );
    assert_snapshot!("exclusion_list_all", all.stderr);
    assert_snapshot!("exclusion_list_json", run(&settings, &[OURS, "-o", "json"]).stdout);
    assert_eq!(run(&settings, &[OURS, "-o", "name"]).stdout, "alpha:local.desk\nalpha:local.general\n");
    assert_eq!(run(&settings, &[OURS, "-o", "csv"]).stdout, "entry\nalpha:local.desk\nalpha:local.general\n");
    let tags = run(&settings, &["--alloc_tags=alpha:general", "--manual_tags=urgent"]);
    assert_eq!(tags.stdout, "dispatcher.exclusion_list=alpha:local.general\n");
    assert_snapshot!("exclusion_list_with_tags", tags.stderr);
    assert_eq!(run(&settings, &[OURS, "-qq"]).stderr, "");
}

#[tokio::test]
async fn a_tag_of_two_allocations_names_both() {
    let database = farm(Generation::G0).await;
    sqlx::raw_sql("UPDATE alloc SET str_tag = 'general' WHERE str_name = 'local.desk'")
        .execute(&database.pool())
        .await
        .unwrap();
    let ran = run(&database.connect_settings().await, &["--alloc_tags=alpha:general"]);
    assert_eq!(ran.stdout, "dispatcher.exclusion_list=alpha:local.desk,alpha:local.general\n");
}

#[tokio::test]
async fn where_the_flag_decides_its_commands_are_printed() {
    let database = farm(Generation::G5).await;
    let settings = database.connect_settings().await;
    let ran = run(&settings, &[OURS]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "cueadmin -scheduler-managed alpha on\n"));
    assert_snapshot!("scheduler_flag_off", ran.stderr);
    flag(&database, "beta").await;
    let stranded = run(&settings, &[OURS]);
    assert!(stranded.stderr.contains("would strand: beta\n"), "{}", stranded.stderr);
    flag(&database, "alpha").await;
    let served = run(&settings, &[]);
    assert_eq!((served.code, served.stdout.as_str()), (0, ""));
    assert!(served.stderr.contains("flagged and served: alpha, beta\n"), "{}", served.stderr);
    assert_snapshot!("scheduler_flag_json", run(&settings, &["--alloc_tags=alpha:general", "-o", "json"]).stdout);
}

#[tokio::test]
async fn a_file_is_compared_and_both_kinds_of_harm_named() {
    let database = farm(Generation::G0).await;
    let settings = database.connect_settings().await;
    let check = |list: &str, args: &[&str]| {
        let file = File::new(list);
        let path = file.path();
        run(&settings, &[&["--check", text(&path)], args].concat())
    };
    let all_ours = "--alloc_tags=alpha:general,alpha:desktop,beta:general";
    let tags = "--manual_tags=urgent";
    let good = check(
        "# ours\r\ndispatcher.exclusion_list = alpha:local.general , \\\r\n   alpha:local.desk,beta:local.general\r\n",
        &[all_ours, tags],
    );
    assert_eq!((good.code, good.stdout.as_str()), (0, ""), "{}", good.stderr);
    assert_snapshot!("exclusion_list_check_agrees", good.stderr);

    let harm = check("dispatcher.exclusion_list=alpha:local.general,beta:local.general,gone:local.general\n", &[OURS]);
    assert_eq!(harm.code, 1);
    assert_snapshot!("exclusion_list_check", format!("{}\n{}", harm.stdout, harm.stderr));
    let json = check("dispatcher.exclusion_list=alpha:local.general,beta:local.general\n", &[OURS, "-o", "json"]);
    assert_eq!(json.code, 1);
    assert_snapshot!("exclusion_list_check_json", json.stdout);

    let bare = check("dispatcher.exclusion_list=alpha,beta", &[all_ours, tags]);
    assert_eq!((bare.code, bare.stdout.as_str()), (0, ""));
    assert!(bare.stderr.contains("alpha stands for all its allocations"), "{}", bare.stderr);
    let missing = check("", &[OURS]);
    assert_eq!((missing.code, missing.stdout.matches(" both ").count()), (1, 2), "{}", missing.stdout);
    let twice =
        check("dispatcher.exclusion_list=alpha:local.general,alpha:local.desk\ndispatcher.exclusion_list=\n", &[OURS]);
    assert_eq!(twice.code, 1);
    assert!(twice.stderr.contains("stands on lines 1, 2; only the last counts"), "{}", twice.stderr);
    let odd = check("dispatcher.turn_off_booking = enabled", &[OURS]);
    assert_eq!((odd.code, odd.stdout.as_str()), (1, ""), "{}", odd.stderr);
    assert!(
        odd.stderr.contains("error: Cuebot does not start: dispatcher.turn_off_booking is \"enabled\""),
        "{}",
        odd.stderr
    );
    let off = check("dispatcher.turn_off_booking = TRUE", &[OURS]);
    assert_eq!((off.code, off.stdout.matches(" neither ").count()), (1, 2), "{}", off.stdout);
    let broken = check("a=\\u12", &[OURS]);
    assert_eq!((broken.code, broken.stdout.as_str()), (1, ""));
    assert!(broken.stderr.contains("line 1: \\u without four hexadecimal digits"), "{}", broken.stderr);
}

/// Of another show, whose work a selected tag draws in.
#[tokio::test]
async fn work_for_a_selected_tag_that_cuebot_books_too_is_harm() {
    let database = farm(Generation::G0).await;
    let settings = database.connect_settings().await;
    let file = File::new("dispatcher.exclusion_list=alpha:local.general,alpha:local.desk\n");
    let path = file.path();
    let ran = run(&settings, &["--check", text(&path), OURS, "--manual_tags=urgent", "-o", "csv"]);
    let both = "beta:local.general,both,\"1 layer of pending jobs asks for urgent, which a cluster serves, and the list does \
                not exclude it\"\n";
    assert_eq!((ran.code, ran.stdout.split_once('\n').unwrap().1), (1, both), "{}", ran.stderr);
}

#[tokio::test]
async fn an_allocation_without_host_and_work_is_nobodys_harm() {
    for generation in [Generation::G0, Generation::G5] {
        let database = farm(generation).await;
        let settings = database.connect_settings().await;
        sqlx::raw_sql("DELETE FROM host WHERE pk_alloc = (SELECT pk_alloc FROM alloc WHERE str_name = 'local.desk')")
            .execute(&database.pool())
            .await
            .unwrap();
        let ours = "--alloc_tags=alpha:general,beta:general";
        let file = File::new("dispatcher.exclusion_list=alpha,beta\n");
        let path = file.path();
        if generation == Generation::G5 {
            flag(&database, "alpha").await;
            flag(&database, "beta").await;
        }
        let ran = run(&settings, &["--check", text(&path), ours, "--manual_tags=urgent"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{generation}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn cuebots_command_line_and_environment_win_over_its_file() {
    let database = farm(Generation::G0).await;
    let settings = database.connect_settings().await;
    let file = File::new("dispatcher.exclusion_list=\n");
    let path = file.path();
    let listed = "alpha:local.desk,alpha:local.general,beta:local.general";
    let ours = ["--alloc_tags=alpha:general,alpha:desktop,beta:general", "--manual_tags=urgent"];
    let check = |more: &[&str]| run(&settings, &[&["--check", text(&path)], more, &ours[..]].concat());
    assert_eq!(check(&[]).code, 1);
    let options = file.0.path().join("cuebot");
    let cases = [
        format!("OPTIONS=\"-Xmx4g --dispatcher.exclusion_list={listed}\"\n"),
        format!("# of the unit\nDISPATCHER_EXCLUSION_LIST='{listed}'\n"),
        format!("SPRING_APPLICATION_JSON='{{\"dispatcher\": {{\"exclusion_list\": \"{listed}\"}}}}'\n"),
    ];
    for written in cases {
        fs::write(&options, &written).unwrap();
        let ran = check(&["--options", text(&options)]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{written}: {}", ran.stderr);
        assert!(ran.stderr.contains("and what the file says has no effect\n"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("were not given"), "{}", ran.stderr);
    }
    let property = format!("dispatcher.exclusion_list={listed}");
    assert_eq!(check(&["--property", &property]).code, 0);
    let without_file = run(&settings, &[&["--check", "--property", &property], &ours[..]].concat());
    assert_eq!(without_file.code, 0, "{}", without_file.stderr);
    let refused = check(&["--property", "dispatcher.exclusion_list="]);
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert!(refused.stderr.contains("Cuebot does not start with --dispatcher.exclusion_list="), "{}", refused.stderr);
    let gone = check(&["--options", "/nonexistent/cuebot"]);
    assert_eq!(gone.code, 1);
    assert!(gone.stderr.contains("error: cannot read /nonexistent/cuebot: No such file"), "{}", gone.stderr);
}

/// The lock of its leader is the only sign in the database; its settings are another.
#[tokio::test]
async fn cuebots_own_planner_books_what_is_ours() {
    let database = farm(Generation::G5).await;
    let settings = database.connect_settings().await;
    flag(&database, "alpha").await;
    flag(&database, "beta").await;
    let check = |more: &[&str]| run(&settings, &[&["--check", "--manual_tags=urgent"], more].concat());
    let ours = ["--alloc_tags=alpha:general,alpha:desktop,beta:general"];
    assert_eq!(check(&ours).code, 0);
    let file = File::new("maestro.enabled = managed\n");
    let path = file.path();
    let told = run(&settings, &["--check", text(&path), ours[0], "--manual_tags=urgent"]);
    assert_eq!((told.code, told.stdout.matches(" both ").count()), (1, 2), "{}", told.stdout);

    let pool = database.pool();
    let mut planner = pool.acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(22360104104064357)").execute(&mut *planner).await.unwrap();
    let active = check(&ours);
    assert_eq!((active.code, active.stdout.matches(" both ").count()), (1, 2), "{}", active.stdout);
    assert!(active.stderr.contains("Cuebot's own planner is active"), "{}", active.stderr);
}

#[tokio::test]
async fn flags_are_compared_where_they_decide() {
    let database = farm(Generation::G5).await;
    let settings = database.connect_settings().await;
    flag(&database, "beta").await;
    let harm = run(&settings, &["--check", "-o", "json", OURS]);
    assert_eq!(harm.code, 1);
    assert_snapshot!("scheduler_flag_check_json", harm.stdout);
    flag(&database, "alpha").await;
    let file = File::new("dispatcher.exclusion_list=alpha:local.general\n");
    let good = run(&settings, &["--check", text(&file.path())]);
    assert_eq!((good.code, good.stdout.as_str()), (0, ""), "{}", good.stderr);
    assert!(good.stderr.contains("has no effect on a Cuebot that knows"), "{}", good.stderr);
}

#[tokio::test]
async fn a_file_is_changed_in_its_property_only() {
    let database = farm(Generation::G0).await;
    let settings = database.connect_settings().await;
    let before = "# caf\\u00e9\r\ndispatcher.exclusion_list : gone:local.x,\\\r\n\tother\r\n! end\r\nlast=1";
    let file = File::new(before);
    let path = file.path();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    // Only root may give a file away.
    let _ = std::os::unix::fs::chown(&path, Some(4321), Some(1234));
    let stood = fs::metadata(&path).unwrap();

    let asked = run(&settings, &["--update", text(&path), OURS]);
    assert_eq!((asked.code, file.text().as_str()), (2, before));
    assert!(asked.stderr.contains("there is no terminal to ask on; --yes says it may"), "{}", asked.stderr);

    let link = file.0.path().join("link");
    symlink("opencue.properties", &link).unwrap();
    let changed = run(&settings, &["--update", text(&link), "--yes", OURS]);
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    let after = "# caf\\u00e9\r\ndispatcher.exclusion_list : alpha:local.desk,alpha:local.general\r\n! end\r\nlast=1";
    assert_eq!(file.text(), after);
    assert_snapshot!("exclusion_list_update", changed.stdout.replace(text(&link), "FILE"));
    let stands = fs::metadata(&path).unwrap();
    assert_eq!((stands.mode(), stands.uid(), stands.gid()), (stood.mode(), stood.uid(), stood.gid()));
    assert!(link.is_symlink());
    assert_eq!(file.others(), [link]);

    let again = run(&settings, &["--update", text(&path), OURS]);
    assert_eq!((again.code, again.stdout.as_str()), (0, ""));
    assert_eq!(fs::metadata(&path).unwrap().ino(), stands.ino(), "what is right already is not written");
    let checked = run(&settings, &["--check", text(&path), OURS, "-t", "urgent", "-i", "none", "-o", "name"]);
    assert_eq!((checked.code, checked.stdout.as_str()), (1, "beta:local.general\n"), "of another show");
}

#[tokio::test]
async fn a_show_with_other_letters_comes_back_as_it_was() {
    let database = farm(Generation::G0).await;
    let settings = database.connect_settings().await;
    sqlx::raw_sql("UPDATE show SET str_name = 'caf\u{e9}' WHERE str_name = 'beta'")
        .execute(&database.pool())
        .await
        .unwrap();
    let file = File::new("a=b");
    let path = file.path();
    let ours = "--alloc_tags=caf\u{e9}:general";
    assert_eq!(run(&settings, &["--update", text(&path), "--yes", ours]).code, 0);
    assert_eq!(file.text(), "a=b\ndispatcher.exclusion_list=caf\\u00E9:local.general\n");
    let ran = run(&settings, &["--check", text(&path), ours]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

/// The first byte that goes to a file fails, as on a full disk.
#[tokio::test]
async fn a_failure_in_the_middle_leaves_the_old_file_whole() {
    let database = farm(Generation::G0).await;
    let settings = database.connect_settings().await;
    let file = File::new("a=b\n");
    let program = assert_cmd::cargo::cargo_bin!("cue-scheduler");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""])
        .arg(program)
        .args([COMMAND, "--update", text(&file.path()), "--yes", OURS])
        .env_clear()
        .env("HOME", "/nonexistent")
        .envs(database_variables(&settings))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = Ran::from(output);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("which was left as it is: File too large"), "{}", ran.stderr);
    assert_eq!((file.text().as_str(), file.others()), ("a=b\n", vec![]));
}

#[tokio::test]
async fn no_file_is_changed_where_the_flag_decides() {
    let database = farm(Generation::G5).await;
    let file = File::new("a=b\n");
    let ran = run(&database.connect_settings().await, &["--update", text(&file.path()), "--yes", OURS]);
    assert_eq!((ran.code, ran.stdout.as_str(), file.text().as_str()), (1, "", "a=b\n"));
    assert!(ran.stderr.contains("ignores dispatcher.exclusion_list"), "{}", ran.stderr);
}

#[tokio::test]
async fn booking_is_turned_off_only_when_nothing_is_left_to_nobody() {
    for generation in [Generation::G0, Generation::G5] {
        let database = farm(generation).await;
        let settings = database.connect_settings().await;
        let refused = run(&settings, &["--full-migration", OURS]);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        assert!(refused.stderr.starts_with("error: refused: without Cuebot's booking nobody would book 2 pairs"));
        if generation == Generation::G0 {
            assert_snapshot!("full_migration_refused", refused.stderr);
            assert_snapshot!("full_migration_json", run(&settings, &["--full-migration", OURS, "-o", "json"]).stdout);
        } else {
            // Nothing named takes flagged shows only.
            assert_eq!(run(&settings, &["--full-migration"]).code, 1);
            flag(&database, "alpha").await;
            flag(&database, "beta").await;
        }
        let granted = run(&settings, &["--full-migration"]);
        assert_eq!((granted.code, granted.stdout.as_str()), (0, "dispatcher.turn_off_booking=true\n"));
        assert!(granted.stderr.contains("restart all"), "{}", granted.stderr);
    }
}

#[tokio::test]
async fn asking_changes_nothing_and_needs_no_more_than_reading() {
    for generation in [Generation::G0, Generation::G5] {
        let database = farm(generation).await;
        let before = fingerprint(&database.pool()).await;
        let (owner, reader) = (database.connect_settings().await, read_only_settings(&database).await);
        let file = File::new("dispatcher.exclusion_list=alpha\n");
        let path = file.path();
        let uses: [&[&str]; 4] = [&[], &["--check", text(&path)], &["--full-migration"], &["--update", text(&path)]];
        for args in uses {
            let args = [args, &[OURS]].concat();
            let (read, owned) = (run(&reader, &args), run(&owner, &args));
            assert_eq!((read.code, read.stdout, read.stderr), (owned.code, owned.stdout, owned.stderr));
        }
        assert_eq!(fingerprint(&database.pool()).await, before, "{generation}");
    }
}

#[tokio::test]
async fn an_empty_farm_gives_an_empty_list() {
    for (generation, printed) in [(Generation::G0, "dispatcher.exclusion_list=\n"), (Generation::G5, "")] {
        let database = database(generation).await;
        let settings = database.connect_settings().await;
        let ran = run(&settings, &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, printed));
        assert!(ran.stderr.contains("this configuration has no cluster here"), "{}", ran.stderr);
        assert_eq!(run(&settings, &["--full-migration"]).code, 0);
    }
    let database = database(Generation::G0).await;
    let ran = run(&database.connect_settings().await, &["--check"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--check needs the properties file of a Cuebot"), "{}", ran.stderr);
}

#[test]
fn wrong_use_and_no_database_are_told() {
    let nowhere = ConnectSettings { host: "/nonexistent".to_owned(), ..ConnectSettings::default() };
    let ran = run(&nowhere, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("error: Failed to connect to database"), "{}", ran.stderr);
    let wrong: [&[&str]; 5] =
        [&["--yes"], &["--update"], &["--check", "a", "--update", "b"], &["--full-migration", "--check"], &["x"]];
    for args in wrong {
        let ran = run(&nowhere, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_at_once() {
    let database = farm(Generation::G0).await;
    let settings = database.connect_settings().await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [text(&pipe), text(folder.path()), "/dev/zero"] {
        for act in ["--check", "--update"] {
            let ran = run(&settings, &[act, path, OURS]);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{path}");
            assert!(ran.stderr.contains(&format!("error: {path} is no regular file")), "{}", ran.stderr);
        }
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told() {
    let database = farm(Generation::G0).await;
    let settings = database.connect_settings().await;
    for act in ["--check", "--update"] {
        let ran = run(&settings, &[act, "/nonexistent/opencue.properties", OURS]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(
            ran.stderr.contains("error: cannot read /nonexistent/opencue.properties: No such file"),
            "{}",
            ran.stderr
        );
    }
}
