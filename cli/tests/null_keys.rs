//! Keys of which columns are null.

mod support;

use support::Kodiak;

const ROWS: &str = "a,b,n\n,1,10\n,2,20\nNA,1,30\nx,1,\n\"\",7,50\n";
/// As they come back: the last row with a key stays.
const READ: &str = "a,b,n\n,1,30\n,2,20\n\"\",7,50\nx,1,\n";

#[test]
fn key_columns_are_null_only_if_that_is_asked_for() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", ROWS);
    let import = ["import", "db", "t", &file, "--key"];
    let refused = kodiak.refuses(&[&import[..], &["a,b"]].concat());
    assert!(
        refused.contains("line 2: column \"a\": it has no value, and is part of the key")
            && refused.contains("--key \"a null\""),
        "{refused}"
    );
    let printed = kodiak.prints(&[&import[..], &["a,b", "--rejects", "rejected"]].concat());
    assert!(printed.contains("3 rejected"), "{printed}");
    let rejected = std::fs::read_to_string(kodiak.path("rejected")).expect("written");
    let lines: Vec<serde_json::Value> = rejected
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let places: Vec<_> = lines.iter().map(|line| line["line"].as_u64()).collect();
    assert_eq!(places, [Some(2), Some(3), Some(4)]);
    assert!(lines.iter().all(|line| line["column"] == "a"), "{rejected}");
    // The table is there, and does not become another one.
    let other = kodiak.refuses(&[&import[..], &["a null,b"]].concat());
    assert!(other.contains("\"a\" may not be null"), "{other}");
    kodiak.prints(&["drop-table", "db", "t"]);
    kodiak.prints(&[&import[..], &["a null,b"]].concat());
    assert_eq!(kodiak.prints(&["export", "db", "t"]), READ);
    assert_eq!(
        kodiak.prints(&["tables", "db", "t"]),
        "a: text  # key 1\nb: int64 not null  # key 2\nn: int64\n"
    );
}

#[test]
fn a_schema_says_whether_key_columns_may_be_null() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", ROWS);
    let import = |table: &str, schema: &str, more: &[&str]| {
        let all = ["import", "db", table, &file, "--schema", schema, "--key"];
        kodiak.command(&[&all[..], more].concat()).output().expect("started")
    };
    assert!(
        import("t", "a:text, b:int8 not null, n:int8", &["-b,a"])
            .status
            .success()
    );
    assert_eq!(
        kodiak.prints(&["export", "db", "t"]),
        "a,b,n\n\"\",7,50\n,2,20\n,1,30\nx,1,\n",
        "descending by b"
    );
    let refused = import("u", "a:text not null, b:int8, n:int8", &["a,b"]);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("line 2: column \"a\": it has no value"), "{refused}");
    let both = import("u", "a:text not null, b:int8, n:int8", &["a null,b"]);
    let both = String::from_utf8_lossy(&both.stderr).into_owned();
    assert!(both.contains("not null by its schema, and null by --key"), "{both}");
    let other = import("t", "a:text not null, b:int8 not null, n:int8", &["-b,a"]);
    let other = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(
        other.contains("has a: text, where --schema says a: text not null"),
        "{other}"
    );
}

#[test]
fn null_keys_come_back_through_every_format() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", ROWS);
    let types = "a:text, b:int64, n:int64";
    for (table, key) in [("t", "a null,b"), ("down", "a desc null,b"), ("lone", "n null")] {
        kodiak.prints(&["import", "db", table, &file, "--key", key]);
        let before = kodiak.prints(&["export", "db", table]);
        for format in ["csv", "jsonl", "parquet", "feather", "orc"] {
            let (file, copy) = (format!("{table}.{format}"), format!("{table}_{format}"));
            kodiak.prints(&["export", "db", table, "--output", &file]);
            kodiak.prints(&["import", "db", &copy, &file, "--key", key]);
            assert_eq!(kodiak.prints(&["export", "db", &copy]), before, "{file}");
            let copy = format!("{copy}_typed");
            let plain = key.replace(" null", "");
            kodiak.prints(&["import", "db", &copy, &file, "--key", &plain, "--schema", types]);
            assert_eq!(kodiak.prints(&["export", "db", &copy]), before, "{file} with a schema");
            if ["csv", "jsonl"].contains(&format) {
                continue;
            }
            let copy = format!("{copy}_ingested");
            let refused = kodiak.refuses(&["ingest", "db", &copy, &file, "--key", &plain]);
            assert!(
                refused.contains("it has no value") && refused.contains(&file),
                "{refused}"
            );
            kodiak.prints(&["drop-table", "db", &copy]);
            kodiak.prints(&["ingest", "db", &copy, &file, "--key", key]);
            assert_eq!(kodiak.prints(&["export", "db", &copy]), before, "{file} ingested");
        }
    }
}
