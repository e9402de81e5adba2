//! Databases, tables and entries from the command line.

mod support;

use std::io::Read;
use std::process::{Command, Stdio};

use support::Kodiak;

#[test]
fn entries_come_and_go() {
    let kodiak = Kodiak::new();
    assert_eq!(
        kodiak.prints(&["create", "db", "users", "pets"]),
        "made users, pets in db\n"
    );
    assert_eq!(kodiak.prints(&["tables", "db"]), "pets\nusers\n");
    for (key, value) in [("ada", "countess"), ("bob", "builder"), ("cem", "poet"), ("dan", "")] {
        assert_eq!(kodiak.prints(&["put", "db", "users", key, value]), "");
    }
    assert_eq!(kodiak.prints(&["get", "db", "users", "ada"]), "countess\n");
    assert_eq!(kodiak.prints(&["get", "db", "users", "dan", "--raw"]), "");
    assert!(
        kodiak
            .refuses(&["get", "db", "users", "eve"])
            .contains("no key \"eve\"")
    );
    kodiak.prints(&["delete", "db", "users", "bob"]);
    kodiak.prints(&["delete", "db", "users", "never there"]);
    assert_eq!(
        kodiak.prints(&["scan", "db", "users"]),
        "ada\tcountess\ncem\tpoet\ndan\t\n"
    );
    kodiak.prints(&["delete", "db", "users", "b", "--to", "d"]);
    assert_eq!(kodiak.prints(&["scan", "db", "users", "--keys"]), "ada\ndan\n");
    kodiak.prints(&["drop-table", "db", "users"]);
    assert_eq!(kodiak.prints(&["tables", "db"]), "pets\n");
}

#[test]
fn a_scan_has_bounds_prefix_limit_and_direction() {
    let kodiak = Kodiak::new();
    kodiak.prints(&["create", "db", "t"]);
    for key in ["a", "b1", "b2", "b3", "c"] {
        kodiak.prints(&["put", "db", "t", key, "v"]);
    }
    let keys = |arguments: &[&str]| {
        let printed = kodiak.prints(&[&["scan", "db", "t", "--keys"], arguments].concat());
        printed.lines().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    for _ in 0..2 {
        assert_eq!(keys(&[]), "a b1 b2 b3 c");
        assert_eq!(keys(&["--from", "b1", "--to", "b3"]), "b1 b2");
        assert_eq!(keys(&["--prefix", "b", "--reverse"]), "b3 b2 b1");
        assert_eq!(keys(&["--reverse", "--limit", "2"]), "c b3");
        assert_eq!(keys(&["--from", "b2", "--limit", "0"]), "");
        assert_eq!(kodiak.prints(&["scan", "db", "t", "--count", "--prefix", "b"]), "3\n");
        // The second time from a run.
        assert!(kodiak.prints(&["compact", "db", "t"]).contains("bytes of runs"));
    }
    assert!(kodiak.refuses(&["compact", "db", "u"]).contains("the tables are: t"));
    assert!(
        kodiak
            .prints(&["compact", "db", "t", "--from", "b", "--to", "c"])
            .contains("bytes of runs")
    );
    kodiak.misunderstands(&["compact", "db", "--from", "b"]);
    assert!(kodiak.prints(&["stats", "db"]).contains("table t"));
    let stats: serde_json::Value = serde_json::from_str(&kodiak.prints(&["stats", "db", "--json"])).expect("JSON");
    assert_eq!(stats["tables"][0]["name"], "t");
    let entries = stats["tables"][0]["levels"].as_array().expect("levels").iter();
    assert_eq!(entries.filter_map(|level| level["entries"].as_u64()).sum::<u64>(), 5);
    kodiak.misunderstands(&["scan", "db", "t", "--prefix", "b", "--from", "a"]);
}

#[test]
fn any_bytes_can_be_typed_and_are_shown_as_they_are_typed() {
    let kodiak = Kodiak::new();
    kodiak.prints(&["create", "db", "t"]);
    kodiak.prints(&["put", "db", "t", "tab\\t\\x00\\xff", "caf\u{e9} \\\\"]);
    kodiak.prints(&["put", "db", "t", "FF00", "6869", "--hex"]);
    kodiak.prints(&["put", "db", "t", "-5", "-6"]);
    assert_eq!(kodiak.prints(&["get", "db", "t", "-5"]), "-6\n");
    assert_eq!(
        kodiak.prints(&["scan", "db", "t", "--from", "-5", "--to", "-6"]),
        "-5\t-6\n"
    );
    kodiak.prints(&["delete", "db", "t", "-5"]);
    assert_eq!(
        kodiak.prints(&["scan", "db", "t"]),
        "tab\\t\\x00\\xff\tcaf\u{e9} \\\\\n\\xff\\x00\thi\n"
    );
    assert_eq!(
        kodiak.prints(&["scan", "db", "t", "--hex", "--from", "ff"]),
        "ff00\t6869\n"
    );
    assert_eq!(kodiak.prints(&["get", "db", "t", "\\xff\\x00", "--json"]), "\"hi\"\n");
    let json = kodiak.prints(&["scan", "db", "t", "--json", "--reverse", "--limit", "1"]);
    assert_eq!(json, "{\"key\":{\"hex\":\"ff00\"},\"value\":\"hi\"}\n");
    assert!(kodiak.refuses(&["put", "db", "t", "\\q", "v"]).contains("backslash"));
    assert!(
        kodiak
            .refuses(&["put", "db", "t", "abc", "v", "--hex"])
            .contains("hexadecimal")
    );
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let kodiak = Kodiak::new();
    assert!(
        kodiak
            .refuses(&["get", "nowhere", "t", "k"])
            .contains("kodiak create nowhere")
    );
    assert!(!kodiak.path("nowhere").exists(), "nothing is made by a read");
    kodiak.refuses(&["put", "nowhere", "t", "k", "v"]);
    assert!(!kodiak.path("nowhere").exists(), "nor by a write");
    kodiak.prints(&["create", "db", "t"]);
    assert!(kodiak.refuses(&["get", "db", "u", "k"]).contains("the tables are: t"));
    assert!(kodiak.refuses(&["create", "db", "t"]).contains("already"));
    assert!(kodiak.refuses(&["create", "db"]).contains("already"));
    assert!(
        kodiak
            .refuses(&["create", "db", "u", "--merge", "multiply"])
            .contains("counter")
    );
    assert!(kodiak.refuses(&["create", "db", "u", "--ttl", "soon"]).contains("soon"));
    assert!(
        kodiak
            .refuses(&["put", "db", "t", "k", "v", "--set", "memtable.kind=hat"])
            .contains("sorted")
    );
    assert!(kodiak.misunderstands(&["put", "db", "t", "k"]).contains("VALUE"));
    kodiak.misunderstands(&["put", "db", "t", "k", "v", "--set", "memtable.kind"]);
    kodiak.misunderstands(&["juggle"]);
}

#[test]
fn settings_of_the_first_opening_stay_until_others_are_given() {
    let kodiak = Kodiak::new();
    kodiak.prints(&["create", "db", "t", "--set", "format.kind=row"]);
    kodiak.prints(&["put", "db", "t", "k", "v"]);
    let explained = kodiak.prints(&["settings", "explain", "db"]);
    let kind = |explained: &str| {
        let line = explained
            .lines()
            .find(|line| line.trim().starts_with("format.kind"))
            .expect("listed")
            .to_owned();
        line.split_whitespace().nth(1).expect("a value").to_owned()
    };
    assert_eq!(kind(&explained), "row");
    kodiak.prints(&["put", "db", "t", "k", "w", "--set", "format.kind=parquet"]);
    assert_eq!(kind(&kodiak.prints(&["settings", "explain", "db"])), "parquet");
    assert_eq!(kodiak.prints(&["get", "db", "t", "k"]), "w\n");
}

#[test]
fn a_reader_that_goes_away_is_not_an_error() {
    let kodiak = Kodiak::new();
    let rows: String = (0..20_000)
        .map(|row| format!("{row},some text to fill the pipe with\n"))
        .collect();
    let file = kodiak.file("rows.csv", &format!("n,text\n{rows}"));
    kodiak.prints(&["import", "db", "t", &file]);
    kodiak.prints(&["import", "db", "typed", &file, "--key", "n"]);
    let go_away = |command: &[&str]| {
        let mut child = kodiak
            .command(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut some = [0; 100];
        let mut output = child.stdout.take().expect("piped");
        output.read_exact(&mut some).expect("there is more than that");
        drop(output);
        let ended = child.wait_with_output().expect("ended");
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && errors.is_empty(), "{command:?}: {errors}");
    };
    go_away(&["wal", "dump", "db"]);
    kodiak.prints(&["secondary", "create", "db", "typed", "by_text", "--on", "text"]);
    go_away(&["scan", "db", "t"]);
    go_away(&["scan", "db", "typed"]);
    go_away(&["export", "db", "typed"]);
    go_away(&["secondary", "read", "db", "typed", "by_text"]);
    go_away(&["secondary", "read", "db", "typed", "by_text", "--json"]);
}

#[test]
fn the_log_tells_its_history() {
    let kodiak = Kodiak::new();
    kodiak.prints(&["create", "db", "t"]);
    kodiak.prints(&["put", "db", "t", "ada", "countess"]);
    let history = kodiak.prints(&["wal", "dump", "db"]);
    assert!(history.contains("put ada\tcountess"), "{history}");
    assert!(
        history.contains("sequence 1 to 1") && history.contains("segment "),
        "{history}"
    );
    // The next opening may flush what it has replayed, and release that part of the log.
    kodiak.prints(&["delete", "db", "t", "b", "--to", "c"]);
    let history = kodiak.prints(&["wal", "dump", "db"]);
    assert!(history.contains("delete-range b\tc"), "{history}");
    assert!(
        history
            .lines()
            .any(|line| line.starts_with("20") && line.contains("Z batch at ")),
        "{history}"
    );
    assert_eq!(
        history,
        kodiak.prints(&["wal", "dump", "db/wal"]),
        "the directory of segments is the same"
    );
    kodiak.refuses(&["wal", "dump", "nowhere"]);
}

#[test]
fn told_to_be_verbose_it_tells_what_happens() {
    let kodiak = Kodiak::new();
    let output = kodiak.command(&["create", "db", "-v"]).output().expect("started");
    assert!(String::from_utf8_lossy(&output.stderr).contains("opened"), "{output:?}");
}

#[test]
#[cfg(unix)]
fn a_database_behind_a_symbolic_link_is_refused_with_what_to_do() {
    let kodiak = Kodiak::new();
    kodiak.prints(&["create", "real", "t"]);
    std::os::unix::fs::symlink("real", kodiak.path("link")).expect("a link");
    for command in [
        &["put", "link", "t", "a", "b"][..],
        &["stats", "link"],
        &["verify", "link"],
    ] {
        let error = kodiak.refuses(command);
        assert!(
            error.contains("symbolic links are not followed: give the real path"),
            "{error}"
        );
    }
}

#[test]
fn rows_of_tables_with_columns_are_read_and_deleted_by_their_keys() {
    let kodiak = Kodiak::new();
    let file = kodiak.file(
        "rides.csv",
        "day,line,km\n1,\"a, b\",1.5\n1,c,2\n2,\"a, b\",3\n3,c,\n-1,d,4\n",
    );
    kodiak.prints(&["import", "db", "rides", &file, "--key", "day,line"]);
    for _ in 0..2 {
        let printed = kodiak.prints(&["scan", "db", "rides"]);
        assert_eq!(printed.lines().next(), Some(r#"{"day":-1,"line":"d","km":4.0}"#));
        assert_eq!(printed.lines().last(), Some(r#"{"day":3,"line":"c","km":null}"#));
        let keys = |arguments: &[&str]| kodiak.prints(&[&["scan", "db", "rides", "--keys"], arguments].concat());
        assert_eq!(keys(&["--prefix", "1"]).lines().count(), 2);
        assert_eq!(keys(&["--from", "2"]).lines().count(), 2);
        assert_eq!(
            keys(&["--from", "1,b", "--to", "3", "--reverse", "--limit", "1"]),
            "{\"day\":2,\"line\":\"a, b\"}\n"
        );
        assert_eq!(kodiak.prints(&["scan", "db", "rides", "--count", "--to", "2"]), "3\n");
        assert_eq!(
            kodiak.prints(&["get", "db", "rides", "1,\"a, b\""]),
            "{\"day\":1,\"line\":\"a, b\",\"km\":1.5}\n"
        );
        // The second time from a run.
        kodiak.prints(&["compact", "db"]);
    }
    assert!(kodiak.refuses(&["get", "db", "rides", "1"]).contains("day, line"));
    assert!(kodiak.refuses(&["get", "db", "rides", "one,c"]).contains("\"day\""));
    assert!(kodiak.refuses(&["get", "db", "rides", "9,c"]).contains("no key"));
    assert!(kodiak.refuses(&["put", "db", "rides", "9,c", "1"]).contains("import"));
    assert!(
        kodiak
            .refuses(&["scan", "db", "rides", "--from", "1,c,2"])
            .contains("has 3")
    );
    kodiak.prints(&["delete", "db", "rides", "1,c"]);
    kodiak.prints(&["delete", "db", "rides", "2", "--to", "3"]);
    assert_eq!(kodiak.prints(&["scan", "db", "rides", "--count"]), "3\n");
    // Encoded bytes are there for those who ask.
    assert!(
        kodiak
            .prints(&["scan", "db", "rides", "--hex", "--limit", "1"])
            .starts_with("7fff")
    );
}

#[test]
fn operands_are_merged_into_values() {
    let kodiak = Kodiak::new();
    kodiak.prints(&["create", "db", "hits", "--merge", "counter"]);
    kodiak.prints(&["create", "db", "log", "--merge", "append"]);
    kodiak.prints(&["create", "db", "plain"]);
    for count in ["2", "40", "-5"] {
        kodiak.prints(&["merge", "db", "hits", "page", count]);
    }
    assert_eq!(kodiak.prints(&["get", "db", "hits", "page"]), "37\n");
    kodiak.prints(&["put", "db", "hits", "other", "-3"]);
    assert_eq!(kodiak.prints(&["scan", "db", "hits"]), "other\t-3\npage\t37\n");
    assert_eq!(
        kodiak.prints(&["scan", "db", "hits", "--json", "--limit", "1"]),
        "{\"key\":\"other\",\"value\":-3}\n"
    );
    assert_eq!(
        kodiak.prints(&["scan", "db", "hits", "--hex", "--limit", "1"]),
        "6f74686572\tfdffffffffffffff\n"
    );
    assert!(
        kodiak
            .refuses(&["put", "db", "hits", "page", "37.5"])
            .contains("whole number")
    );
    kodiak.prints(&["put", "db", "log", "k", "a"]);
    kodiak.prints(&["merge", "db", "log", "k", "b\\x63"]);
    assert_eq!(kodiak.prints(&["get", "db", "log", "k"]), "abc\n");
    assert!(
        kodiak
            .refuses(&["merge", "db", "hits", "page", "many"])
            .contains("whole number")
    );
    assert!(
        kodiak
            .refuses(&["merge", "db", "plain", "k", "v"])
            .contains("no merge operator")
    );
}

#[test]
fn an_import_that_fails_before_its_first_row_leaves_no_table() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("late.csv", "a,b\n1,2\n2,x\n");
    let import = ["import", "db", "t", &file, "--key", "a", "--schema"];
    let error = kodiak.refuses(&[&import[..], &["a:int8, b:int8"]].concat());
    assert!(error.contains("line 3"), "{error}");
    assert_eq!(kodiak.prints(&["tables", "db"]), "");
    kodiak.prints(&[&import[..], &["a:int8, b:text"]].concat());
    assert_eq!(kodiak.prints(&["tables", "db"]), "t\n");
}

#[test]
fn a_range_of_rows_is_deleted_and_compacted_by_key_columns() {
    let kodiak = Kodiak::new();
    kodiak.file(
        "c.csv",
        "country,city,people\nFR,Lyon,1\nIT,Bologna,2\nIT,Turin,3\nUS,Boise,4\n",
    );
    kodiak.prints(&["import", "db", "c", "c.csv", "--key", "country,city"]);
    kodiak.prints(&["delete", "db", "c", "IT,Bologna", "--to", "IT,C"]);
    assert_eq!(kodiak.prints(&["scan", "db", "c", "--count"]), "3\n");
    kodiak.prints(&["delete", "db", "c", "IT", "--to", "US"]);
    let left = kodiak.prints(&["scan", "db", "c"]);
    assert!(
        left.contains("Lyon") && left.contains("Boise") && !left.contains("Turin"),
        "{left}"
    );
    assert!(
        kodiak.prints(&["wal", "dump", "db"]).contains("delete"),
        "ranges of the first key columns are shown"
    );
    kodiak.prints(&["compact", "db", "c", "--from", "G", "--to", "US"]);
    assert_eq!(kodiak.prints(&["scan", "db", "c"]), left);
    assert!(
        kodiak
            .refuses(&["compact", "db", "c", "--from", "IT,Turin,3"])
            .contains("country, city")
    );
}

#[test]
fn a_system_that_allows_few_open_files_is_enough() {
    let kodiak = Kodiak::new();
    let rows = (0..40_000).map(|number| format!("{number:08},{number:0100}\n"));
    kodiak.file("t.csv", &format!("key,value\n{}", rows.collect::<String>()));
    let small = [
        "--set",
        "compaction.target_run_size=64KiB",
        "--set",
        "memtable.size=64KiB",
    ];
    kodiak.prints(&[&["import", "db", "t", "t.csv", "--key-value"], &small[..]].concat());
    kodiak.prints(&["compact", "db"]);
    let runs = std::fs::read_dir(kodiak.path("db/tables/000001"))
        .expect("runs")
        .count()
        / 2;
    assert!(runs > 48, "{runs} runs");
    let counted = Command::new("sh")
        .args(["-c", "ulimit -n 48 && exec \"$0\" scan db t --count"])
        .arg(env!("CARGO_BIN_EXE_kodiak"))
        .current_dir(kodiak.path("."))
        .output()
        .expect("run");
    assert_eq!(String::from_utf8_lossy(&counted.stdout), "40000\n", "{counted:?}");
}
