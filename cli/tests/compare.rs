//! `kodiak compare` and `kodiak settings`.

mod support;

use support::Kodiak;

#[test]
fn configurations_are_compared_side_by_side() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("mine.toml", "[format]\nkind = \"row\"\n");
    let mine = format!("mine={file}");
    let printed = kodiak.prints(&[
        "compare",
        "--data",
        "kv:2000",
        "--ops",
        "500",
        "--workload",
        "read,seek-10,ycsb-a",
        "--configs",
        "default,parquet+format.compression=lz4",
        "--config",
        &mine,
    ]);
    for expected in [
        "default",
        "parquet+format.compression=lz4",
        "mine",
        "Workload ycsb-a",
        "p99.9",
        "space amp.",
    ] {
        assert!(printed.contains(expected), "{expected} is missing in\n{printed}");
    }
}

#[test]
fn without_names_every_part_is_compared_and_all_agree() {
    let kodiak = Kodiak::new();
    let printed = kodiak.prints(&["compare", "--data", "flights:1500", "--ops", "200", "--json"]);
    let comparison: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let outcomes = comparison["outcomes"].as_array().expect("a list");
    let names: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome["configuration"].as_str().expect("a name"))
        .collect();
    for name in ["default", "parquet", "orc", "row", "skiplist", "tiered"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for outcome in outcomes {
        assert_eq!(outcome["contents"], outcomes[0]["contents"]);
        assert!(outcome["workloads"][0]["latency"]["p50"].as_u64().expect("a number") > 0);
    }
}

#[test]
fn a_csv_file_is_compared_by_its_key_columns() {
    let kodiak = Kodiak::new();
    let rows: String = (0..300).map(|row| format!("UA,{row},NA\n")).collect();
    let file = kodiak.file("flights.csv", &format!("carrier,flight,delay\n{rows}"));
    let arguments = [
        "compare",
        "--configs",
        "default,row",
        "--ops",
        "100",
        "--data",
        file.as_str(),
    ];
    let printed = kodiak.prints(&[&arguments[..], &["--markdown", "--key", "carrier,flight"]].concat());
    assert!(
        printed.contains("300 lines of flights.csv, keyed by carrier, flight"),
        "{printed}"
    );
    assert!(
        kodiak
            .refuses(&[&arguments[..], &["--key", "carrier"]].concat())
            .contains("rows 1 and 2")
    );
}

#[test]
fn mistakes_are_found_before_anything_is_run() {
    let kodiak = Kodiak::new();
    assert!(kodiak.refuses(&["compare", "--configs", "parket"]).contains("parquet"));
    assert!(
        kodiak
            .refuses(&["compare", "--configs", "row,row"])
            .contains("two configurations")
    );
    assert!(kodiak.refuses(&["compare", "--workload", "ycsb-z"]).contains("ycsb-a"));
    assert!(kodiak.refuses(&["compare", "--data", "none.csv"]).contains("none.csv"));
    assert!(kodiak.refuses(&["compare", "--data", "kv:some"]).contains("kv:100000"));
    let file = kodiak.file("flights.csv.zip", "PK\u{3}\u{4}...");
    assert!(
        kodiak
            .refuses(&["compare", "--data", &file])
            .contains("unpack it first")
    );
    let file = kodiak.file("bad.toml", "[memtable]\nsize = \"1 apple\"\n");
    let error = kodiak.refuses(&["compare", "--config", &format!("bad={file}")]);
    assert!(error.contains("bad.toml") && error.contains("memtable.size"), "{error}");
    kodiak.misunderstands(&["compare", "--config", "nameless"]);
    kodiak.misunderstands(&["compare", "--ops", "0"]);
    assert!(
        kodiak
            .refuses(&["compare", "--dir", "nowhere", "--configs", "default"])
            .contains("nowhere")
    );
}

#[test]
fn settings_are_explained_with_their_origin() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("mine.toml", "preset = \"small-memory\"\n[wal]\nsync = \"full\"\n");
    let printed = kodiak.prints(&[
        "settings",
        "explain",
        "--settings",
        &file,
        "--set",
        "filter.bits_per_key=7",
    ]);
    let origin = |setting: &str| {
        let line = printed
            .lines()
            .find(|line| line.split_whitespace().next() == Some(setting))
            .expect("listed");
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(origin("wal.sync"), "full file, line 3");
    assert_eq!(origin("memtable.size"), "4MiB preset small-memory");
    assert_eq!(origin("filter.bits_per_key"), "7 program");
    assert!(origin("index.primary").ends_with("default"), "{printed}");
    let toml = kodiak.prints(&["settings", "explain", "--settings", &file, "--toml"]);
    let again = kodiak.file("again.toml", &toml);
    assert_eq!(
        toml,
        kodiak.prints(&["settings", "explain", "--settings", &again, "--toml"])
    );
    assert!(kodiak.refuses(&["settings", "explain", "nowhere"]).contains("nowhere"));
    let unknown = kodiak.file("unknown.toml", "[memtable]\nsiez = 3\n");
    assert!(
        kodiak
            .refuses(&["settings", "explain", "--settings", &unknown])
            .contains("siez")
    );
}

#[test]
fn components_are_listed_with_capabilities_and_options() {
    let kodiak = Kodiak::new();
    let printed = kodiak.prints(&["settings", "components"]);
    for expected in ["memtable.kind", "skiplist", "parquet", "l0_trigger", "bloom", "segment"] {
        assert!(printed.contains(expected), "{expected} is missing in\n{printed}");
    }
    let formats = kodiak.prints(&["settings", "components", "--family", "format"]);
    assert!(
        formats.contains("feather") && !formats.contains("skiplist"),
        "{formats}"
    );
    assert!(
        kodiak
            .refuses(&["settings", "components", "--family", "hat"])
            .contains("memtable")
    );
    assert!(
        kodiak
            .prints(&["settings", "components", "--markdown"])
            .starts_with("# Components")
    );
    assert!(kodiak.prints(&["settings", "presets"]).contains("write-heavy"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_comparison_leaves_no_databases_behind() {
    let kodiak = Kodiak::new();
    std::fs::create_dir(kodiak.path("made")).expect("made");
    let databases = || std::fs::read_dir(kodiak.path("made")).expect("a list").count();
    let wait_for = |count: usize| {
        // Long enough for any machine; what is waited for comes at once.
        for _ in 0..6000 {
            if databases() == count {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{} directories, not {count}", databases());
    };
    let arguments = [
        "compare",
        "--data",
        "kv:200000",
        "--ops",
        "2000000",
        "--configs",
        "default",
        "--dir",
        "made",
    ];
    let mut child = kodiak
        .command(&arguments)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    wait_for(1);
    // The process that does the work lives on until it finds out.
    child.kill().expect("killed");
    child.wait().expect("ended");
    wait_for(0);
    // Of one that was killed itself.
    let dead = kodiak.path("made/kodiak-compare-0");
    std::fs::create_dir_all(dead.join("db")).expect("made");
    std::fs::write(dead.join("OWNER"), "").expect("written");
    let arguments = [
        "compare",
        "--data",
        "kv:1000",
        "--ops",
        "10",
        "--configs",
        "default",
        "--dir",
        "made",
        "--json",
    ];
    kodiak.prints(&arguments);
    assert_eq!(databases(), 0);
}
