//! Files into tables.

mod support;

use std::io::Write;
use std::process::Stdio;

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
fn dates_and_times_get_types_that_write_them_as_they_were() {
    let kodiak = Kodiak::new();
    let text =
        "id,day,at,instant,code\n1,2012-02-29,2012-02-29T10:00:00,2012-02-29T10:00:00Z,2012-02-30\n2,NA,NA,NA,NA\n";
    let file = kodiak.file("rows.csv", &text.replace("NA", ""));
    kodiak.prints(&["import", "db", "t", &file, "--key", "id"]);
    let columns = kodiak.prints(&["tables", "db", "t"]);
    for column in [
        "day: date",
        "at: timestamp(us)",
        "instant: timestamp(us, UTC)",
        "code: text",
    ] {
        assert!(columns.contains(column), "{column}: {columns}");
    }
    assert_eq!(kodiak.prints(&["export", "db", "t"]), text.replace("NA", ""));
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
    assert!(refused("ragged.csv", "a,b\n1,2\n3\n", &[]).contains("line 3: 1 fields where the header has 2"));
    assert!(refused("plain.csv", "a,b\n1,2\n", &["--key", "c"]).contains("the columns are: a, b"));
    assert!(refused("plain.csv", "a,b\n1,2\n", &["--key", "c"]).contains("plain.csv"));
    let mixed = refused(
        "mixed.jsonl",
        "{\"a\":1,\"b\":{\"c\":1}}\n\n{\"b\":2}\n",
        &["--key", "a"],
    );
    assert!(
        mixed.contains("\"b\" is an object on line 1 and a single value on line 3"),
        "{mixed}"
    );
    assert!(mixed.contains("mixed.jsonl"), "{mixed}");
    assert!(
        refused("missing.csv", "a,b\n1,2\nNA,3\n", &["--key", "a"]).contains("line 3: column \"a\": it has no value")
    );
    assert!(refused("twice.csv", "a,a\n1,2\n", &[]).contains("twice.csv"));
    assert!(refused("broken.jsonl", "{\"a\":1}\n{\"a\":\n", &[]).contains("broken.jsonl"));
    assert!(refused("empty.jsonl", "", &[]).contains("no JSON objects"));
    assert!(refused("list.json", "[\n  1,\n  2\n]\n", &[]).contains("not be part of a list"));
    let zipped = |name: &&str| refused(name, "PK\u{3}\u{4}", &[]).contains("ZIP archive");
    assert!(["zipped.csv", "rows.zip"].iter().all(zipped) && refused("other.jsonl", "PAR1", &[]).contains("parquet"));
    assert!(refused("rows.txt", "a\n1\n", &[]).contains("--format csv"));
    assert!(kodiak.refuses(&["import", "db", "t", "none.csv"]).contains("none.csv"));
    assert!(!kodiak.prints(&["tables", "db"]).contains("_kodiak_imports"));
    kodiak.misunderstands(&["import", "db", "t", "rows.txt", "--batch", "0"]);
}

#[test]
fn a_key_makes_a_table_with_the_columns_of_the_file() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,name,age\n2,bob,NA\n1,ada,36\n2,ben,7\n");
    kodiak.prints(&["import", "db", "people", &file, "--key", "id"]);
    let other = kodiak.refuses(&["import", "db", "people", &file, "--key", "name,-id"]);
    assert!(other.contains("with the key id, not name, id desc"), "{other}");
    kodiak.prints(&["import", "db", "people", &file, "--key", "id asc"]);
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

#[test]
fn columns_and_key_are_as_the_user_writes_them() {
    let kodiak = Kodiak::new();
    let text = "id,price,at,note\n1,1.50,2013-01-01T10:00:00Z,x\n2,NA,NA,\"\"\n";
    let file = kodiak.file("rows.csv", text);
    let schema = "id:int16 not null, price:decimal(10, 2), at:timestamp(ms, UTC)\nnote:text not null";
    let columns = kodiak.file("columns.txt", schema);
    for (table, more) in [("t", ["--schema", schema]), ("u", ["--schema-file", &columns])] {
        kodiak.prints(&[&["import", "db", table, &file, "--key", "id desc"], more.as_slice()].concat());
        let exported = kodiak.prints(&["export", "db", table]);
        assert_eq!(
            exported, "id,price,at,note\n2,,,\"\"\n1,1.50,2013-01-01T10:00:00Z,x\n",
            "descending, and an empty text is no missing one"
        );
    }
    let db = kodiak::Db::open(kodiak.path("db"), kodiak::Settings::default()).expect("open");
    let table = db.table("t").expect("made");
    let field = |name: &str| table.schema().columns().field_with_name(name).expect(name).clone();
    assert_eq!(
        field("price").data_type(),
        &arrow::datatypes::DataType::Decimal128(10, 2)
    );
    assert!(!field("note").is_nullable() && !field("id").is_nullable() && field("at").is_nullable());
    drop(table);
    db.close().expect("close");
    let other = [
        "import",
        "db",
        "t",
        &file,
        "--key",
        "id desc",
        "--schema",
        "id:int32,note:text",
    ];
    assert!(kodiak.refuses(&other).contains("other columns than --schema"));
    assert!(
        kodiak
            .refuses(&["import", "db", "v", &file, "--schema", "id:number"])
            .contains("\"number\"")
    );
    let more = kodiak.file("more.csv", "id,extra,note\n7,1,y\n");
    assert!(
        kodiak
            .refuses(&["import", "db", "t", &more])
            .contains("no column \"extra\"")
    );
    kodiak.prints(&["import", "db", "t", &more, "--columns", "note,id"]);
    assert!(
        kodiak
            .prints(&["export", "db", "t", "--columns", "id,note"])
            .starts_with("id,note\n7,y\n")
    );
}

#[test]
fn rows_that_cannot_be_imported_go_to_a_file_with_line_and_reason() {
    let kodiak = Kodiak::new();
    let csv = "id,n\n1,10\nx,11\n\"2\nz\",12\n3\n,14\n5,400\n6,\"1\n7,\"\n8,18\n9,\"open\n";
    let jsonl =
        "{\"id\":1,\"n\":10}\n{\"id\":\"x\",\"n\":11}\n[]\n{\"id\":3,\"m\":1}\n{\"id\":8,\"n\":18}\n{\"n\":1}\n";
    for (name, text, lines) in [
        ("rows.csv", csv, vec![3, 4, 6, 7, 8, 9, 12]),
        ("rows.jsonl", jsonl, vec![2, 3, 4, 6]),
    ] {
        let (db, rejects) = (format!("{name}.db"), format!("{name}.rejects"));
        let file = kodiak.file(name, text);
        let import = [
            "import",
            &db,
            "t",
            &file,
            "--key",
            "id",
            "--schema",
            "id:int32 not null,n:int8",
        ];
        let error = kodiak.refuses(&import);
        assert!(
            error.contains(&format!("line {}:", lines[0])) && error.contains("--rejects"),
            "{error}"
        );
        let few = [&import[..], &["--rejects", &rejects, "--max-rejects", "2"]].concat();
        let error = kodiak.refuses(&few);
        assert!(error.contains("more than 2 rows"), "{error}");
        std::fs::remove_file(kodiak.path(&rejects)).expect("was made");
        let printed = kodiak.prints(&[&import[..], &["--rejects", &rejects]].concat());
        assert!(printed.contains(&format!("{} rejected", lines.len())), "{printed}");
        assert_eq!(kodiak.prints(&["export", &db, "t"]), "id,n\n1,10\n8,18\n");
        let text = std::fs::read_to_string(kodiak.path(&rejects)).expect("written");
        let found: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let numbers: Vec<u64> = found
            .iter()
            .map(|reject| reject["line"].as_u64().expect("a number"))
            .collect();
        assert_eq!(numbers, lines, "{text}");
        assert!(
            found
                .iter()
                .all(|reject| reject["reason"].is_string() && reject["text"].is_string()),
            "{text}"
        );
        let again = kodiak.refuses(&[&import[..], &["--rejects", &rejects]].concat());
        assert!(again.contains("already exists"), "{again}");
    }
}

#[test]
fn an_import_goes_on_only_with_the_same_file_and_arguments() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,n\n1,1\n2,2\nx,3\n4,4\n");
    let import = [
        "import",
        "db",
        "t",
        &file,
        "--key",
        "id",
        "--schema",
        "id:int64,n:int64",
        "--batch",
        "1",
    ];
    assert!(kodiak.refuses(&import).contains("line 4"));
    assert_eq!(kodiak.prints(&["export", "db", "t"]), "id,n\n1,1\n2,2\n");
    let other = [&import[..], &["--resume", "--na", "none"]].concat();
    assert!(kodiak.refuses(&other).contains("other arguments"));
    let mine = kodiak.file("mine", "my notes");
    let error = kodiak.refuses(&[&import[..], &["--resume", "--rejects", &mine]].concat());
    assert!(error.contains("holds something else"), "{error}");
    let printed = kodiak.prints(&[&import[..], &["--resume", "--rejects", "rejected"]].concat());
    assert!(
        printed.starts_with("1 rows into table t") && printed.contains("after 2 rows before"),
        "{printed}"
    );
    assert!(
        kodiak
            .prints(&[&import[..4], &["--columns", "id", "--rejects", "r2"]].concat())
            .starts_with("3 rows")
    );
    kodiak.file("rows.csv", "id,n\n1,1\nx,2\n");
    assert!(kodiak.refuses(&import).contains("line 3"));
    kodiak.file("rows.csv", "id,n\n1,1\nx,2\n5,5\n");
    assert!(
        kodiak
            .refuses(&[&import[..], &["--resume"]].concat())
            .contains("has changed")
    );
}

#[test]
fn rows_above_the_limits_are_rejected_by_themselves() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", &format!("key,value\na,1\nb,{}\nc,3\n", "x".repeat(3000)));
    let import = [
        "import",
        "db",
        "t",
        &file,
        "--rejects",
        "rejected",
        "--set",
        "limits.max_value=1KiB",
    ];
    assert!(kodiak.prints(&import).contains("2 rows into table t"));
    let rejected = std::fs::read_to_string(kodiak.path("rejected")).expect("written");
    assert!(rejected.starts_with("{\"line\":3,"), "{rejected}");
    assert_eq!(
        kodiak.prints(&["export", "db", "t"]),
        "key,value\na,1\nc,3\n",
        "entries as they are"
    );
}

#[test]
fn numbered_rows_do_not_replace_those_of_another_file() {
    let kodiak = Kodiak::new();
    let (first, second) = (kodiak.file("1.csv", "a\n1\n2\n"), kodiak.file("2.csv", "a\n3\n"));
    kodiak.prints(&["import", "db", "t", &first]);
    let refused = kodiak.refuses(&["import", "db", "t", &second]);
    assert!(refused.contains("--key"), "{refused}");
    assert_eq!(kodiak.prints(&["scan", "db", "t", "--count"]), "2\n");
    kodiak.prints(&["import", "db", "t", &second, "--key", "a"]);
    assert_eq!(kodiak.prints(&["scan", "db", "t", "--count"]), "3\n");
}

#[test]
fn what_can_be_read_only_once_is_imported_too() {
    let kodiak = Kodiak::new();
    let piped = |text: &str, arguments: &[&str]| {
        let mut command = kodiak.command(&[&["import", "db"], arguments].concat());
        let pipes = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("started");
        // It may have ended before.
        let _ = child.stdin.take().expect("a pipe").write_all(text.as_bytes());
        let output = child.wait_with_output().expect("ended");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let csv = "id,n\n1,10\n2,\n";
    for (table, file) in [("a", "-"), ("b", "/dev/stdin")] {
        let printed = piped(csv, &[table, file, "--format", "csv", "--key", "id"]);
        assert!(printed.starts_with(&format!("2 rows into table {table}")), "{printed}");
        assert_eq!(kodiak.prints(&["export", "db", table, "--output", "-"]), csv);
    }
    let json = "{\"id\":1,\"n\":[10]}\n";
    let schema = ["--key", "id", "--schema", "id:int8,n:list<int16>"];
    piped(json, &[&["c", "-", "--format", "jsonl"], &schema[..]].concat());
    assert_eq!(kodiak.prints(&["export", "db", "c", "--format", "jsonl"]), json);
    assert!(piped(csv, &["d", "-"]).contains("say --format csv"));
    assert!(piped(csv, &["d", "-", "--format", "csv", "--resume"]).contains("--resume needs a file"));
    assert!(piped("a\n1,2\n", &["d", "-", "--format", "csv"]).contains("line 2: 2 fields"));
    assert!(!kodiak.prints(&["tables", "db"]).contains("_kodiak_imports"));
}
