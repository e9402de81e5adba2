//! Tables into files, and back.

mod support;

use std::io::Read;
use std::path::Path;

use kodiak_core::conformance::extent;
use support::Kodiak;

const FORMATS: [&str; 5] = ["csv", "jsonl", "parquet", "feather", "orc"];

/// Exports a table in a format, imports it into a new one, and returns what that holds, as CSV.
fn round_trip(kodiak: &Kodiak, table: &str, format: &str, make: &[&str]) -> String {
    let file = format!("{table}.{format}");
    let copy = format!("{table}_{format}");
    kodiak.prints(&["export", "db", table, "--output", &file, "--force"]);
    kodiak.prints(&[&["import", "db", &copy, &file], make].concat());
    kodiak.prints(&["export", "db", &copy])
}

#[test]
fn values_of_every_type_come_back_as_they_were() {
    let kodiak = Kodiak::new();
    let rows = "id,small,big,half,single,double,truth,text,bytes,day,at,zoned,clock,price,took\n\
        1,-128,18446744073709551615,0.5,0.1,1e300,true,plain,00ff,2013-01-31,2013-01-01T10:00:00.123456,2013-01-01T10:00:00Z,23:59:59.999999,-1.50,-7\n\
        2,,,,,,,,,,,,,,\n\
        3,127,0,NaN,NaN,-inf,false,\"\",\"\",1969-12-31,1969-12-31T23:59:59.999999,1969-12-31T23:59:59Z,00:00:00,0.00,0\n\
        4,0,1,-0.0,inf,-0.0,false,\"NA\",4e41,9999-12-31,2200-01-01T00:00:00,2038-01-19T03:14:08Z,12:00:00.5,99999999.99,9223372036854775807\n\
        5,5,5,5,5,5,true,\"a,\"\"b\"\"\nc\r\n\u{e9}\u{1f980}\",0a,0001-01-01,1800-06-01T12:00:00,1800-01-01T00:00:00Z,00:00:00.000001,1.00,1\n";
    let file = kodiak.file("rows.csv", rows);
    let schema = "id:int32 not null, small:int8, big:uint64, half:float16, single:float32, double:float64, truth:bool, \
        text:text, bytes:binary, day:date, at:timestamp(us), zoned:timestamp(s, UTC), clock:time(us), price:decimal(10, 2), \
        took:duration(ms)";
    // ORC has no unsigned integers of 64 bits, no half floats, no times of day and no durations.
    let without = "id:int32 not null, small:int8, single:float32, double:float64, truth:bool, text:text, bytes:binary, \
        day:date, at:timestamp(us), zoned:timestamp(s, UTC), price:decimal(10, 2)";
    let names = "id,small,single,double,truth,text,bytes,day,at,zoned,price";
    let all = ["--key", "id", "--schema", schema];
    let some = ["--key", "id", "--schema", without];
    kodiak.prints(&[&["import", "db", "t", &file], &all[..]].concat());
    kodiak.prints(&[&["import", "db", "s", &file, "--columns", names], &some[..]].concat());
    for (table, make, formats) in [("t", all, &FORMATS[..4]), ("s", some, &FORMATS[..])] {
        let before = kodiak.prints(&["export", "db", table]);
        assert_eq!(before.lines().count(), 8, "{before}");
        for format in formats {
            assert_eq!(round_trip(&kodiak, table, format, &make), before, "{format}");
        }
    }
    let error = kodiak.refuses(&["export", "db", "t", "--output", "t.orc"]);
    assert!(error.contains("t.orc") && error.contains("\"big\""), "{error}");
    assert!(!kodiak.path("t.orc").exists() && !kodiak.path("t.orc.partial").exists());
    // Without a schema, files with types have that of the table.
    for format in ["parquet", "feather"] {
        kodiak.prints(&[
            "import",
            "db",
            &format!("inferred_{format}"),
            &format!("t.{format}"),
            "--key",
            "id",
        ]);
    }
    let db = kodiak::Db::open(kodiak.path("db"), kodiak::Settings::default()).expect("open");
    let columns = |table: &str| db.table(table).expect(table).schema().columns().clone();
    for format in ["parquet", "feather"] {
        let inferred = columns(&format!("inferred_{format}"));
        let types = |schema: arrow::datatypes::SchemaRef| {
            schema
                .fields()
                .iter()
                .map(|field| field.data_type().clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(types(inferred), types(columns("t")), "{format}");
    }
}

#[test]
fn keys_and_values_come_back_as_they_were() {
    let kodiak = Kodiak::new();
    kodiak.prints(&["create", "db", "t", "u"]);
    for (key, value) in [
        ("a", ""),
        ("b", "NA"),
        ("c,\"d\"", "two\\nlines"),
        ("caf\u{e9}", "\\\\x41"),
        (" ", "x"),
    ] {
        kodiak.prints(&["put", "db", "t", key, value]);
        kodiak.prints(&["put", "db", "u", key, value]);
    }
    kodiak.prints(&["put", "db", "u", "\\xff\\x00", "\\x80"]);
    for (table, hex) in [("t", false), ("u", true)] {
        let before = kodiak.prints(&["scan", "db", table]);
        for format in FORMATS {
            let (file, copy) = (format!("{table}.{format}"), format!("{table}_{format}"));
            let hex: &[&str] = if hex { &["--hex"] } else { &[] };
            kodiak.prints(&[&["export", "db", table, "--output", &file], hex].concat());
            kodiak.prints(&[&["import", "db", &copy, &file], hex].concat());
            assert_eq!(kodiak.prints(&["scan", "db", &copy]), before, "{format}");
        }
        for format in ["parquet", "feather", "orc"] {
            let (file, copy) = (format!("{table}.{format}"), format!("{table}_in_{format}"));
            kodiak.prints(&["ingest", "db", &copy, &file, "--key-value"]);
            assert_eq!(kodiak.prints(&["scan", "db", &copy]), before, "{format} ingested");
        }
    }
    assert!(kodiak.refuses(&["export", "db", "u"]).contains("--hex"));
}

#[test]
fn what_is_exported_can_be_chosen_and_is_never_half_a_file() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,a,b\n1,x,\n2,,y\n3,z,z\n");
    kodiak.prints(&["import", "db", "t", &file, "--key", "id"]);
    let chosen = [
        "export",
        "db",
        "t",
        "--columns",
        "b,id",
        "--limit",
        "2",
        "--na",
        "none",
        "--delimiter",
        ";",
    ];
    assert_eq!(kodiak.prints(&chosen), "b;id\nnone;1\ny;2\n");
    assert_eq!(
        kodiak.prints(&["export", "db", "t", "--columns", "b"]),
        "b\nNA\ny\nz\n",
        "a row is never an empty line"
    );
    let json = kodiak.prints(&["export", "db", "t", "--format", "jsonl", "--limit", "1"]);
    assert_eq!(json, "{\"id\":1,\"a\":\"x\",\"b\":null}\n");
    assert!(
        kodiak
            .refuses(&["export", "db", "t", "--format", "parquet"])
            .contains("--output")
    );
    assert!(
        kodiak
            .refuses(&["export", "db", "t", "--columns", "c"])
            .contains("the columns are: id, a, b")
    );
    let twice = kodiak.refuses(&["export", "db", "t", "--columns", "a,id,a"]);
    assert!(twice.contains("column \"a\" is named twice"), "{twice}");
    // Nothing is written before it is known what.
    for condition in ["a >", "nope > 1", "id > 'x'"] {
        let output = kodiak.command(&["export", "db", "t", "--where", condition]).output();
        let output = output.expect("started");
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(1), &b""[..]),
            "{condition}"
        );
    }
    let some = |condition: &str| kodiak.prints(&["export", "db", "t", "--columns", "a", "--where", condition]);
    assert_eq!(some("id >= 2 and b like 'z%'"), "a\nz\n");
    assert_eq!(some("a is null or id = 3"), "a\nNA\nz\n");
    let refused = |condition: &str| kodiak.refuses(&["export", "db", "t", "--where", condition]);
    assert!(refused("id >").contains("expected at byte 4"));
    assert!(refused("c = 1").contains("the columns are id, a, b"));
    kodiak.file("there.csv", "mine");
    assert!(
        kodiak
            .refuses(&["export", "db", "t", "--output", "there.csv"])
            .contains("--force")
    );
    for compression in ["none", "lz4", "zstd"] {
        for format in ["parquet", "feather", "orc"] {
            let file = format!("{compression}.{format}");
            kodiak.prints(&["export", "db", "t", "--output", &file, "--compression", compression]);
            let table = format!("{compression}_{format}");
            kodiak.prints(&["ingest", "db", &table, &file, "--key", "id"]);
            assert_eq!(
                kodiak.prints(&["export", "db", &table]),
                kodiak.prints(&["export", "db", "t"]),
                "{file}"
            );
        }
    }
}

/// What tells flights apart.
const KEY: &str = "year,month,day,carrier,flight,origin,sched_dep_time";

#[test]
fn flights_come_back_through_every_format() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/flights.csv.zip");
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let mut text = String::new();
    let mut archive = zip::ZipArchive::new(file).expect("an archive");
    archive
        .by_index(0)
        .expect("one file")
        .read_to_string(&mut text)
        .expect("text");
    // All of them take a while.
    let count = extent("KODIAK_FLIGHTS", [20_000, 336_776, 336_776]) as usize;
    let some: String = text.split_inclusive('\n').take(count + 1).collect();
    let kodiak = Kodiak::new();
    let file = kodiak.file("flights.csv", &some);
    let count = some.lines().count() - 1;
    let printed = kodiak.prints(&["import", "db", "flights", &file, "--key", KEY]);
    assert!(printed.starts_with(&format!("{count} rows")), "{printed}");
    let before = kodiak.prints(&["export", "db", "flights"]);
    assert_eq!(before.lines().count(), count + 1);
    for format in FORMATS {
        // The types of CSV files are found anew; those of JSON lines are not as many.
        let table = format!("flights_{format}");
        let schema = "year:int64,month:int64,day:int64,dep_time:int64,sched_dep_time:int64,dep_delay:int64,arr_time:int64,\
            sched_arr_time:int64,arr_delay:int64,carrier:text,flight:int64,tailnum:text,origin:text,dest:text,air_time:int64,\
            distance:int64,hour:int64,minute:int64,time_hour:timestamp(s, UTC)";
        let make: &[&str] = match format {
            "jsonl" | "orc" => &["--key", KEY, "--schema", schema],
            _ => &["--key", KEY],
        };
        assert!(round_trip(&kodiak, "flights", format, make) == before, "{table}");
        if !["csv", "jsonl"].contains(&format) {
            let file = format!("flights.{format}");
            kodiak.prints(&[&["ingest", "db", &format!("in_{format}"), &file], make].concat());
            assert!(
                kodiak.prints(&["export", "db", &format!("in_{format}")]) == before,
                "{file} ingested"
            );
        }
    }
}

#[test]
fn a_file_called_tsv_has_tabs_and_is_read_again() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,a\n1,\"x,y\"\n2,\"p\tq\"\n");
    kodiak.prints(&["import", "db", "t", &file, "--key", "id"]);
    kodiak.prints(&["export", "db", "t", "--output", "rows.tsv"]);
    let written = std::fs::read_to_string(kodiak.path("rows.tsv")).expect("written");
    assert_eq!(written, "id\ta\n1\tx,y\n2\t\"p\tq\"\n");
    kodiak.prints(&["import", "db", "again", "rows.tsv", "--key", "id"]);
    assert_eq!(
        kodiak.prints(&["export", "db", "again"]),
        kodiak.prints(&["export", "db", "t"])
    );
    kodiak.prints(&[
        "export",
        "db",
        "t",
        "--output",
        "rows.tsv",
        "--force",
        "--delimiter",
        ",",
    ]);
    let written = std::fs::read_to_string(kodiak.path("rows.tsv")).expect("written");
    assert!(written.starts_with("id,a\n"), "{written}");
}

#[test]
fn exported_files_have_the_permissions_of_who_exports() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,a\n1,x\n");
    kodiak.prints(&["import", "db", "t", &file, "--key", "id"]);
    let of = |name: &str| std::fs::metadata(kodiak.path(name)).expect(name).permissions();
    for name in ["rows.jsonl", "rows.parquet"] {
        kodiak.prints(&["export", "db", "t", "--output", name]);
        assert_eq!(of(name), of("rows.csv"), "{name}");
    }
}
