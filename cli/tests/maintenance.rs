//! Checkpoints, backups, verification, repair and dumps from the command line.

mod support;

use support::Kodiak;

/// A database with one table, whose entries are in a run.
fn database() -> Kodiak {
    let kodiak = Kodiak::new();
    kodiak.prints(&["create", "db", "users"]);
    kodiak.prints(&["put", "db", "users", "ada", "countess"]);
    kodiak.prints(&["put", "db", "users", "bob", "builder"]);
    kodiak.prints(&["compact", "db"]);
    kodiak
}

fn run_file(kodiak: &Kodiak, ending: &str) -> String {
    let dir = "db/tables/000001";
    let names = std::fs::read_dir(kodiak.path(dir)).expect("there");
    let mut names = names.map(|entry| entry.expect("entry").file_name().into_string().expect("text"));
    format!("{dir}/{}", names.find(|name| name.ends_with(ending)).expect("a run"))
}

#[test]
fn a_checkpoint_is_a_database() {
    let kodiak = database();
    assert_eq!(kodiak.prints(&["checkpoint", "db", "copy"]), "made copy\n");
    assert_eq!(kodiak.prints(&["scan", "copy", "users", "--keys"]), "ada\nbob\n");
    assert!(kodiak.refuses(&["checkpoint", "db", "copy"]).contains("must be empty"));
}

#[test]
fn a_database_that_a_program_has_open_is_copied_and_verified_beside_it() {
    let kodiak = database();
    let db = kodiak::Builder::new(kodiak::Settings::default());
    let db = db.existing().open(kodiak.path("db")).expect("open");
    let table = db.table("users").expect("table");
    table.put("cem", "poet").expect("put");
    let made = kodiak.prints(&["checkpoint", "db", "copy"]);
    assert!(made.starts_with("made copy, of what the process"), "{made}");
    let made = kodiak.prints(&["backup", "create", "db", "backups"]);
    assert!(
        made.starts_with("1\t") && made.contains("of what the process"),
        "{made}"
    );
    let report = kodiak.prints(&["verify", "db"]);
    assert!(report.contains("runs and deletion vectors only"), "{report}");
    assert!(report.ends_with("no problems\n"), "{report}");
    table.put("dee", "doctor").expect("the program goes on");
    db.compact().expect("compact");
    db.close().expect("close");
    kodiak.prints(&["backup", "restore", "backups", "latest", "restored"]);
    for copy in ["copy", "restored"] {
        assert_eq!(kodiak.prints(&["scan", copy, "users", "--keys"]), "ada\nbob\ncem\n");
        assert!(kodiak.prints(&["verify", copy]).ends_with("no problems\n"));
    }
    assert_eq!(
        kodiak.prints(&["scan", "db", "users", "--keys"]),
        "ada\nbob\ncem\ndee\n"
    );
}

#[test]
fn backups_are_made_listed_restored_and_deleted() {
    let kodiak = database();
    assert!(kodiak.refuses(&["backup", "list", "nowhere"]).contains("nowhere"));
    assert!(kodiak.prints(&["backup", "create", "db", "backups"]).starts_with("1\t"));
    kodiak.prints(&["put", "db", "users", "cem", "poet"]);
    assert!(kodiak.prints(&["backup", "create", "db", "backups"]).starts_with("2\t"));
    assert_eq!(kodiak.prints(&["backup", "list", "backups"]).lines().count(), 2);
    assert_eq!(kodiak.prints(&["backup", "verify", "backups", "2"]), "no problems\n");
    assert_eq!(
        kodiak.prints(&["backup", "verify", "backups", "latest"]),
        "no problems\n"
    );
    assert!(
        kodiak
            .refuses(&["backup", "verify", "nowhere", "1"])
            .contains("nowhere")
    );
    assert!(!kodiak.path("nowhere").exists(), "nothing is made");
    assert!(
        kodiak
            .misunderstands(&["backup", "verify", "backups", "newest"])
            .contains("latest")
    );
    assert_eq!(
        kodiak.prints(&["backup", "restore", "backups", "1", "old"]),
        "made old\n"
    );
    assert_eq!(kodiak.prints(&["scan", "old", "users", "--keys"]), "ada\nbob\n");
    kodiak.prints(&["backup", "delete", "backups", "1"]);
    assert!(
        kodiak
            .refuses(&["backup", "restore", "backups", "1", "older"])
            .contains("the backups are: 2")
    );
    kodiak.prints(&["backup", "restore", "backups", "latest", "new"]);
    assert_eq!(kodiak.prints(&["get", "new", "users", "cem"]), "poet\n");
}

#[test]
fn damage_is_found_and_repaired() {
    let kodiak = database();
    assert!(kodiak.prints(&["verify", "db"]).ends_with("no problems\n"));
    std::fs::remove_file(kodiak.path(&run_file(&kodiak, ".meta"))).expect("removed");
    std::fs::write(kodiak.path("db/CURRENT"), "nonsense").expect("written");
    assert!(kodiak.refuses(&["verify", "db"]).contains("kodiak repair"));
    assert!(kodiak.refuses(&["scan", "db", "users"]).contains("CURRENT"));
    let report = kodiak.prints(&["repair", "db"]);
    assert!(
        report.contains("written anew") && report.ends_with("1 tables, 1 runs; 0 batches in the log\n"),
        "{report}"
    );
    assert_eq!(kodiak.prints(&["scan", "db", "users"]), "ada\tcountess\nbob\tbuilder\n");
    assert!(kodiak.prints(&["verify", "db"]).ends_with("no problems\n"));
    assert!(kodiak.path("db/lost/CURRENT").exists(), "nothing is deleted");
}

#[test]
fn dumps_show_what_files_hold() {
    let kodiak = database();
    assert!(
        kodiak
            .prints(&["dump", "manifest", "db"])
            .contains("create table 1 \"users\"")
    );
    let data = run_file(&kodiak, ".feather");
    assert!(
        kodiak
            .prints(&["dump", "sidecar", &data])
            .contains("2 entries, 0 tombstones")
    );
    assert_eq!(
        kodiak.prints(&["dump", "run", &data]),
        "1 put ada\tcountess\n2 put bob\tbuilder\n"
    );
    assert!(kodiak.refuses(&["dump", "run", "db/CURRENT"]).contains("not a run"));
}

#[test]
fn dumps_show_rows_of_tables_with_columns() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("people.csv", "name,age\nada,36\nbob,\n");
    kodiak.prints(&["import", "db", "people", &file, "--key", "name"]);
    let log = kodiak.prints(&["wal", "dump", "db"]);
    assert!(log.contains("table 1 put {\"name\":\"ada\",\"age\":36}"), "{log}");
    kodiak.prints(&["delete", "db", "people", "bob"]);
    let log = kodiak.prints(&["wal", "dump", "db"]);
    assert!(log.contains("table 1 delete {\"name\":\"bob\"}\n"), "{log}");
    let bytes = kodiak.prints(&["wal", "dump", "db", "--hex"]);
    assert!(bytes.contains("delete 626f62"), "{bytes}");
    kodiak.prints(&["compact", "db"]);
    let run = kodiak.prints(&["dump", "run", &run_file(&kodiak, ".feather")]);
    assert!(run.ends_with(" put {\"name\":\"ada\",\"age\":36}\n"), "{run}");
}

#[test]
fn settings_that_cannot_be_read_are_told_of_and_mended() {
    let kodiak = database();
    let path = kodiak.path("db").join("SETTINGS.toml");
    let whole = std::fs::read_to_string(&path).expect("reads");
    std::fs::write(&path, whole.replace("point-in-time", "pnint-in-time")).expect("written");
    let refused = kodiak.refuses(&["scan", "db", "users"]);
    assert!(
        refused.contains("--settings FILE") && refused.contains("pnint"),
        "{refused}"
    );
    kodiak.file("own.toml", "");
    let entries = kodiak.prints(&["scan", "db", "users", "--settings", "own.toml"]);
    assert!(!entries.is_empty());
    assert!(kodiak.refuses(&["verify", "db"]).contains("1 problems"));
    assert!(kodiak.prints(&["repair", "db"]).contains("lost/SETTINGS.toml"));
    assert_eq!(kodiak.prints(&["scan", "db", "users"]), entries);
    assert!(kodiak.prints(&["verify", "db"]).contains("no problems"));
}

#[test]
fn a_missing_directory_of_a_table_is_no_database_to_make() {
    let kodiak = database();
    std::fs::remove_dir_all(kodiak.path("db/tables/000001")).expect("removed");
    let message = kodiak.refuses(&["get", "db", "users", "ada"]);
    assert!(
        message.contains("corruption") && message.contains("tables/000001"),
        "{message}"
    );
    assert!(
        message.contains("kodiak repair") && !message.contains("kodiak create"),
        "{message}"
    );
    assert!(
        kodiak
            .refuses(&["get", "nowhere", "users", "ada"])
            .contains("kodiak create")
    );
    assert!(kodiak.refuses(&["verify", "db"]).contains("kodiak repair"));
    kodiak.prints(&["repair", "db"]);
    assert_eq!(kodiak.prints(&["scan", "db", "users"]), "");
    assert!(kodiak.prints(&["verify", "db"]).ends_with("no problems\n"));
}

#[test]
fn a_mode_of_recovery_that_is_set_counts_for_one_command() {
    let damaged = || {
        let kodiak = Kodiak::new();
        kodiak.prints(&["create", "db", "users"]);
        for key in ["ada", "bob"] {
            kodiak.prints(&["put", "db", "users", key, "value"]);
        }
        for entry in std::fs::read_dir(kodiak.path("db/wal")).expect("there") {
            std::fs::remove_file(entry.expect("entry").path()).expect("removed");
        }
        let message = kodiak.refuses(&["scan", "db", "users"]);
        assert!(
            message.contains("wal.recovery") && message.contains("kodiak repair"),
            "{message}"
        );
        kodiak
    };
    let mode = |kodiak: &Kodiak, db: &str| {
        let settings = std::fs::read_to_string(kodiak.path(db).join("SETTINGS.toml")).expect("settings");
        let line = settings.lines().find_map(|line| line.strip_prefix("recovery = "));
        line.expect("a mode").to_owned()
    };
    // What is passed over is told on standard error.
    let warned = |kodiak: &Kodiak, arguments: &[&str]| {
        let output = kodiak.command(arguments).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && errors.contains("the log lacks its end"),
            "{errors}"
        );
    };
    let kodiak = damaged();
    warned(
        &kodiak,
        &[
            "put",
            "db",
            "users",
            "cem",
            "poet",
            "--set",
            "wal.recovery=skip-corrupt",
        ],
    );
    assert_eq!(
        kodiak.prints(&["scan", "db", "users", "--keys", "--from", "bob"]),
        "cem\n"
    );
    assert_eq!(mode(&kodiak, "db"), "\"point-in-time\"");
    let kodiak = damaged();
    warned(&kodiak, &["repair", "db"]);
    assert_eq!(
        mode(&kodiak, "db"),
        "\"point-in-time\"",
        "repair does not leave its own behind"
    );
    kodiak.prints(&["create", "new", "t", "--set", "wal.recovery=absolute"]);
    assert_eq!(mode(&kodiak, "new"), "\"absolute\"", "a new database keeps it");
}

#[test]
fn a_creation_that_is_refused_leaves_nothing() {
    let kodiak = Kodiak::new();
    kodiak.refuses(&["create", "new/deeper/db", "users", ""]);
    assert!(!kodiak.path("new").exists());
    std::fs::create_dir(kodiak.path("empty")).expect("made");
    std::fs::write(kodiak.path("empty").join("notes"), "mine").expect("written");
    kodiak.refuses(&["create", "empty", "users", ""]);
    let left = std::fs::read_dir(kodiak.path("empty")).expect("there");
    let left: Vec<_> = left.map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(left, ["notes"]);
    // A database that was there stays.
    kodiak.prints(&["create", "db", "users"]);
    kodiak.refuses(&["create", "db", "users"]);
    kodiak.refuses(&["create", "db", ""]);
    assert_eq!(kodiak.prints(&["tables", "db"]).lines().count(), 1);
}

#[test]
fn repair_puts_the_settings_that_it_is_told_in_the_place_of_unreadable_ones() {
    let kodiak = database();
    let path = kodiak.path("db").join("SETTINGS.toml");
    std::fs::write(&path, "memtable = 7 of 9").expect("written");
    let refused = kodiak.refuses(&["scan", "db", "users"]);
    assert!(
        refused.contains("correct them") && refused.contains("--set"),
        "{refused}"
    );
    kodiak.prints(&["repair", "db", "--set", "memtable.size=17MiB"]);
    let settings = std::fs::read_to_string(&path).expect("settings");
    assert!(settings.contains("17MiB"), "{settings}");
    assert_eq!(kodiak.prints(&["scan", "db", "users", "--keys"]), "ada\nbob\n");
}
