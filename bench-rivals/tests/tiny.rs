//! Every row with every engine, tiny: so that none of it rots.

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kodiak-bench-rivals"))
        .args(args)
        .output()
        .expect("the binary runs")
}

#[test]
fn every_row_measures_every_engine_and_checks_what_it_reads() {
    let dir = tempfile::tempdir().expect("a directory");
    let json = dir.path().join("report.json");
    let output = run(&[
        "--keys",
        "400",
        "--quiet",
        "--dir",
        dir.path().to_str().expect("UTF-8"),
        "--json",
        json.to_str().expect("UTF-8"),
    ]);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("the report")).expect("it is JSON");
    let engines: Vec<&str> = report["engines"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| e["name"].as_str().expect("a name"))
        .collect();
    for name in ["kodiak", "fjall", "redb", "sled", "lmdb"] {
        assert!(engines.contains(&name), "{name} is missing from {engines:?}");
    }
    for row in report["rows"].as_array().expect("a list") {
        for (engine, medians) in engines.iter().zip(row["medians"].as_array().expect("a list")) {
            let absent = match row["name"].as_str().expect("a name") {
                "recovery" => ["redb", "sled", "lmdb", "bplus", "fractal"].contains(engine),
                "small-cache" => *engine == "lmdb",
                _ => false,
            };
            for median in medians.as_array().expect("a list") {
                let fine = if absent {
                    median.is_null()
                } else {
                    median.as_f64().is_some_and(|value| value >= 0.0)
                };
                assert!(fine, "{engine} in {row}: {median}");
            }
        }
        let winners = row["winners"].as_array().expect("a list");
        assert!(winners.iter().all(serde_json::Value::is_u64), "{row} has no winner");
    }
    let title = out.lines().find(|line| line.contains("Kodiak")).expect("a table");
    assert!(title.contains("LMDB"), "{out}");
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("a directory").count(),
        1,
        "stores are removed"
    );
}

#[test]
fn an_unknown_engine_is_refused_with_the_known_ones() {
    let output = run(&["--engines", "leveldb"]);
    assert!(!output.status.success());
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("\"leveldb\"") && err.contains("kodiak, "), "{err}");
}
