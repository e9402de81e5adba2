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
            // No table was left, which would have other columns.
            kodiak.prints(&["ingest", "db", &copy, &file, "--key", key]);
            assert_eq!(kodiak.prints(&["export", "db", &copy]), before, "{file} ingested");
        }
    }
}

/// Keys that look alike: a null, an empty text, and texts that others write for nulls.
const ALIKE: &str = "a,b,v\n,1,null 1\n,NA,null null\n\"\",1,empty 1\n\"\",,empty null\n\"NULL\",1,NULL 1\n\"null\",1,null text\n\
    \"NA\",-1,NA -1\nx,-5,x -5\n";

fn alike() -> Kodiak {
    let kodiak = Kodiak::new();
    let file = kodiak.file("alike.csv", ALIKE);
    let schema = "a:text, b:int8, v:text";
    kodiak.prints(&["import", "db", "t", &file, "--schema", schema, "--key", "a,b"]);
    kodiak.prints(&["import", "db", "lone", &file, "--schema", schema, "--key", "a"]);
    kodiak
}

/// The values that rows of JSON hold in the column v.
fn values(rows: &str) -> Vec<String> {
    let value = |row: &str| serde_json::from_str::<serde_json::Value>(row).expect("JSON")["v"].to_string();
    rows.lines().map(|row| value(row).replace('"', "")).collect()
}

#[test]
fn a_key_says_which_text_is_a_null() {
    let kodiak = alike();
    let get =
        |table: &str, key: &str, na: &str| values(&kodiak.prints(&["get", "db", table, key, "--na", na])).concat();
    for (key, na, value) in [
        ("N,1", "N", "null 1"),
        ("N,N", "N", "null null"),
        (",1", "N", "empty 1"),
        (",N", "N", "empty null"),
        ("NULL,1", "N", "NULL 1"),
        ("NULL,1", "NULL", "null 1"),
        ("\"NULL\",1", "NULL", "NULL 1"),
        ("null,1", "NULL", "null text"),
        (",1", "", "null 1"),
        (",", "", "null null"),
        ("\"\",1", "", "empty 1"),
        ("\"\",", "", "empty null"),
        ("-,1", "-", "null 1"),
        ("NA,-1", "N", "NA -1"),
    ] {
        assert_eq!(get("t", key, na), value, "{key} --na {na}");
    }
    // A key of one column has no quotes around it.
    assert_eq!(get("lone", "N", "N"), "null null");
    assert_eq!(get("lone", "", "N"), "empty null");
    assert_eq!(get("lone", "", ""), "null null");
    assert_eq!(get("lone", "NULL", "N"), "NULL 1");
    // Without the option, texts are what they were.
    assert_eq!(values(&kodiak.prints(&["get", "db", "t", ",1"])), ["empty 1"]);
    assert_eq!(values(&kodiak.prints(&["get", "db", "lone", ""])), ["empty null"]);
    let told = kodiak.refuses(&["get", "db", "t", "N,1"]);
    assert!(told.contains("(--na says which text is a null in it)"), "{told}");
}

#[test]
fn rows_with_null_keys_are_changed_and_deleted() {
    let kodiak = alike();
    let update = |arguments: &[&str]| kodiak.prints(&[&["update", "db", "t", "--na", "N"], arguments].concat());
    update(&["N,1", "v=changed"]);
    update(&["N,7", "v=made", "--or-insert"]);
    let told = kodiak.refuses(&["update", "db", "t", "N,8", "v=none", "--na", "N"]);
    assert!(told.contains("has no key \"N,8\"; --or-insert makes the row"), "{told}");
    kodiak.prints(&["delete", "db", "t", "N,N", "--na", "N"]);
    kodiak.prints(&["delete", "db", "t", ",N", "--na", "N"]);
    assert_eq!(
        kodiak.prints(&["export", "db", "t"]),
        "a,b,v\n,1,changed\n,7,made\n\"\",1,empty 1\n\"NA\",-1,NA -1\nNULL,1,NULL 1\nnull,1,null text\nx,-5,x -5\n"
    );
    kodiak.prints(&["delete", "db", "lone", "N", "--na", "N"]);
    assert!(kodiak.prints(&["export", "db", "lone"]).starts_with("a,b,v\n\"\",,"));
}

#[test]
fn ranges_begin_and_end_at_null_keys() {
    let kodiak = alike();
    let scan = |arguments: &[&str]| values(&kodiak.prints(&[&["scan", "db", "t"], arguments].concat()));
    assert_eq!(scan(&["--prefix", "N", "--na", "N"]), ["null null", "null 1"]);
    assert_eq!(scan(&["--prefix", "", "--na", ""]), ["null null", "null 1"]);
    assert_eq!(scan(&["--prefix", "\"\"", "--na", ""]), ["empty null", "empty 1"]);
    assert_eq!(
        scan(&["--from", "N,1", "--to", "\"\",1", "--na", "N"]),
        ["null 1", "empty null"]
    );
    kodiak.prints(&["compact", "db", "t", "--from", "N", "--to", "\"\"", "--na", "N"]);
    kodiak.prints(&["delete", "db", "t", "N", "--to", "\"\",1", "--na", "N"]);
    assert_eq!(scan(&["--limit", "1"]), ["empty 1"]);
    // Without the option, no text was passed over.
    let told = kodiak.refuses(&["scan", "db", "t", "--prefix", ""]);
    assert!(told.contains("\"\" has 0"), "{told}");
}

#[test]
fn nulls_are_refused_where_none_can_be() {
    let kodiak = alike();
    let file = kodiak.file("alike.csv", ALIKE);
    let import = ["import", "db", "strict", &file, "--key", "v", "--columns", "v"];
    kodiak.prints(&import);
    kodiak.prints(&["create", "db", "plain"]);
    let refused = |arguments: &[&str], why: &str| {
        let told = kodiak.refuses(arguments);
        assert!(told.contains(why), "{told}");
    };
    refused(
        &["get", "db", "strict", "N", "--na", "N"],
        "key column \"v\" may not be null",
    );
    refused(
        &["get", "db", "t", "00", "--hex", "--na", "N"],
        "--hex takes keys as bytes",
    );
    for command in ["get", "delete"] {
        refused(
            &[command, "db", "plain", "a", "--na", "a"],
            "has keys without columns: leave --na out",
        );
    }
    refused(&["scan", "db", "plain", "--na", "a"], "leave --na out");
    refused(&["get", "db", "t", "x,-5\nx,6"], "has more than one line");
}

#[test]
fn keys_begin_with_negative_numbers() {
    let kodiak = alike();
    let file = kodiak.file("alike.csv", ALIKE);
    let schema = "a:text, b:int8, v:text";
    kodiak.prints(&["import", "db", "down", &file, "--schema", schema, "--key", "b,a"]);
    assert_eq!(values(&kodiak.prints(&["get", "db", "down", "-5,x"])), ["x -5"]);
    kodiak.prints(&["update", "db", "down", "-5,x", "v=changed"]);
    assert_eq!(values(&kodiak.prints(&["get", "db", "down", "-5,x"])), ["changed"]);
    kodiak.prints(&["delete", "db", "down", "-5,x"]);
    kodiak.refuses(&["get", "db", "down", "-5,x"]);
    kodiak.misunderstands(&["get", "db", "down", "--rwa", "-5,x"]);
}
