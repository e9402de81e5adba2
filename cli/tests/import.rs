//! Files into tables.

mod support;

use support::Kodiak;

const FLIGHTS: &str = "year,carrier,flight,dep_delay,dest,time_hour\n\
    2013,UA,1545,2,IAH,2013-01-01T10:00:00Z\n\
    2013,UA,1714,NA,\"Houston, TX\",2013-01-01T10:00:00Z\n\
    2013,B6,725,-1.5,NA,2013-01-01T11:00:00Z\n";

#[test]
fn a_csv_file_becomes_typed_json_rows() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("flights.csv", FLIGHTS);
    let printed = kodiak.prints(&[
        "import",
        "db",
        "flights",
        &file,
        "--key",
        "carrier,flight",
        "--key-value",
    ]);
    assert!(printed.starts_with("3 rows into table flights"), "{printed}");
    assert_eq!(
        kodiak.prints(&["scan", "db", "flights", "--keys"]),
        "B6/725\nUA/1545\nUA/1714\n"
    );
    let row = |key: &str| -> serde_json::Value {
        serde_json::from_str(&kodiak.prints(&["get", "db", "flights", key, "--raw"])).expect("JSON")
    };
    let expected = serde_json::json!({
        "year": 2013, "carrier": "UA", "flight": 1714, "dep_delay": null, "dest": "Houston, TX",
        "time_hour": "2013-01-01T10:00:00Z",
    });
    assert_eq!(row("UA/1714"), expected);
    assert_eq!(row("B6/725")["dep_delay"], serde_json::json!(-1.5));
    assert_eq!(row("B6/725")["dest"], serde_json::Value::Null);
    kodiak.prints(&["import", "db", "texts", &file, "--na", "none"]);
    let first = kodiak.prints(&["get", "db", "texts", "0000000002"]);
    assert!(first.contains("\"dep_delay\":\"NA\""), "{first}");
}

#[test]
fn json_lines_become_rows() {
    let kodiak = Kodiak::new();
    let file = kodiak.file(
        "rows.jsonl",
        "{\"id\":7,\"tags\":[\"a\",\"b\\n\"]}\n{\"id\":8,\"name\":\"x\"}\n",
    );
    kodiak.prints(&["import", "db", "t", &file, "--key", "id", "--batch", "1", "--key-value"]);
    let scanned = kodiak.prints(&["scan", "db", "t", "--json"]);
    let rows: Vec<serde_json::Value> = scanned
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows[0]["key"], "7");
    let value: serde_json::Value = serde_json::from_str(rows[0]["value"].as_str().expect("text")).expect("JSON");
    assert_eq!(value, serde_json::json!({"id": 7, "tags": ["a", "b\n"], "name": null}));
}

#[test]
fn rows_are_written_in_batches_and_none_is_lost() {
    let kodiak = Kodiak::new();
    let rows: String = (0..5000).map(|row| format!("{row}\t{}\n", row * row)).collect();
    let file = kodiak.file("rows.tsv", &format!("n\tsquare\n{rows}"));
    kodiak.prints(&[
        "import",
        "db",
        "t",
        &file,
        "--batch",
        "7",
        "--set",
        "memtable.size=64KiB",
    ]);
    assert_eq!(kodiak.prints(&["scan", "db", "t", "--count"]), "5000\n");
    assert_eq!(
        kodiak.prints(&["get", "db", "t", "0000005000", "--raw"]),
        "{\"n\":4999,\"square\":24990001}"
    );
}

#[test]
fn files_that_cannot_be_imported_are_refused_with_the_place() {
    let kodiak = Kodiak::new();
    let refused = |name: &str, text: &str, more: &[&str]| {
        let file = kodiak.file(name, text);
        kodiak.refuses(&[&["import", "db", "t", &file], more].concat())
    };
    assert!(refused("ragged.csv", "a,b\n1,2\n3\n", &[]).contains("line: 3"));
    assert!(refused("plain.csv", "a,b\n1,2\n", &["--key", "c"]).contains("the columns are: a, b"));
    assert!(refused("missing.csv", "a,b\n1,2\nNA,3\n", &["--key", "a"]).contains("row 2: key column \"a\""));
    assert!(refused("twice.csv", "a,a\n1,2\n", &[]).contains("twice.csv"));
    assert!(refused("broken.jsonl", "{\"a\":1}\n{\"a\":\n", &[]).contains("broken.jsonl"));
    assert!(refused("empty.jsonl", "", &[]).contains("no JSON objects"));
    assert!(refused("rows.txt", "a\n1\n", &[]).contains("--format csv"));
    assert!(kodiak.refuses(&["import", "db", "t", "none.csv"]).contains("none.csv"));
    kodiak.misunderstands(&["import", "db", "t", "rows.txt", "--batch", "0"]);
}

#[test]
fn a_key_makes_a_table_with_the_columns_of_the_file() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,name,age\n2,bob,NA\n1,ada,36\n2,ben,7\n");
    kodiak.prints(&["import", "db", "people", &file, "--key", "id"]);
    let db = kodiak::Db::open(kodiak.path("db"), kodiak::Settings::default()).expect("open");
    let people = db.table("people").expect("made");
    assert!(!people.schema().is_key_value());
    let batches: Vec<_> = people
        .read()
        .batches()
        .expect("read")
        .map(|batch| batch.expect("batch"))
        .collect();
    assert_eq!(
        batches.iter().map(|batch| batch.num_rows()).sum::<usize>(),
        2,
        "the last row with a key stays"
    );
    assert!(
        people
            .schema()
            .columns()
            .field_with_name("age")
            .expect("a column")
            .is_nullable()
    );
}
