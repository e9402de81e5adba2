//! Files with a JSON object in each line.

mod support;

use support::Kodiak;

#[test]
fn numbers_come_through_as_they_are_written() {
    let kodiak = Kodiak::new();
    let file = kodiak.file(
        "long.jsonl",
        "{\"n\":18446744073709551615,\"d\":0.12345678901234567890}\n{\"n\":18446744073709551614,\"d\":0.5}\n",
    );
    kodiak.prints(&["import", "db", "t", &file, "--key", "n"]);
    assert_eq!(
        kodiak.prints(&["export", "db", "t"]),
        "n,d\n18446744073709551614,0.5\n18446744073709551615,0.12345678901234567890\n"
    );
    let columns = kodiak.prints(&["tables", "db", "t"]);
    assert!(
        columns.contains("n: uint64 not null") && columns.contains("d: text"),
        "{columns}"
    );
    let file = kodiak.file(
        "mixed.jsonl",
        "{\"n\":18446744073709551616,\"v\":{\"x\": 1e400}}\n{\"n\":18446744073709551617,\"v\":[-0, 1.50]}\n{\"n\":\"a\\\"b\"}\n",
    );
    kodiak.prints(&["import", "db", "objects", &file, "--key", "n", "--key-value"]);
    let value = |key: &str| kodiak.prints(&["get", "db", "objects", key, "--raw"]);
    assert_eq!(
        value("18446744073709551616"),
        "{\"n\":18446744073709551616,\"v\":{\"x\": 1e400}}"
    );
    assert_eq!(
        value("18446744073709551617"),
        "{\"n\":18446744073709551617,\"v\":[-0, 1.50]}"
    );
    assert_eq!(value("a\"b"), "{\"n\":\"a\\\"b\",\"v\":null}");
    let broken = kodiak.file("broken.jsonl", "{\"n\":1}\n\n{\"n\":,}\n");
    let error = kodiak.refuses(&["import", "db", "o", &broken, "--key", "n", "--key-value"]);
    assert!(error.contains("line 3: expected value at byte 6"), "{error}");
}

#[test]
fn nested_values_become_columns_with_a_schema_and_without() {
    let kodiak = Kodiak::new();
    let text = "{\"id\":1,\"a\":{\"b\":2,\"c\":[\"2013-01-31\"]},\"l\":[{\"x\":0.5},null],\"m\":{\"1\":true}}\n\
        {\"id\":2,\"a\":null,\"l\":[],\"m\":{}}\n\
        {\"id\":3,\"a\":{\"b\":null,\"c\":null},\"l\":null,\"m\":null}\n";
    let file = kodiak.file("rows.jsonl", text);
    let schema = "id:int64 not null,a:struct<b:int64,c:list<date>>,l:list<struct<x:float64>>,m:map<int8,bool>";
    kodiak.prints(&["import", "db", "t", &file, "--key", "id", "--schema", schema]);
    assert_eq!(kodiak.prints(&["export", "db", "t", "--format", "jsonl"]), text);
    kodiak.prints(&["export", "db", "t", "--output", "t.csv"]);
    kodiak.prints(&["import", "db", "from_csv", "t.csv", "--key", "id", "--schema", schema]);
    assert_eq!(kodiak.prints(&["export", "db", "from_csv", "--format", "jsonl"]), text);
    kodiak.prints(&["import", "db", "u", &file, "--key", "id", "--columns", "id,l,a"]);
    let columns = kodiak.prints(&["tables", "db", "u"]);
    assert!(
        columns.contains("a: struct<b: int64, c: list<date>>") && columns.contains("l: list<struct<x: float64>>"),
        "{columns}"
    );
    let names = ["--columns", "id,a,l"];
    assert_eq!(
        kodiak.prints(&[&["export", "db", "u", "--format", "jsonl"], &names[..]].concat()),
        kodiak.prints(&[&["export", "db", "t", "--format", "jsonl"], &names[..]].concat())
    );
}

#[test]
fn nested_values_that_do_not_fit_are_told_with_their_place() {
    let kodiak = Kodiak::new();
    let schema = "id:int64 not null,a:struct<b:int8 not null>,l:list<int8 not null>,f:fixed_list<int8, 2>";
    let good = "{\"id\":1,\"a\":{\"b\":2},\"l\":[1,2],\"f\":[1,null]}\n{\"id\":2,\"a\":null,\"l\":null,\"f\":null}\n";
    let wrong = [
        ("{\"id\":9,\"a\":{\"b\":300}}", "\"a.b\""),
        ("{\"id\":9,\"a\":{}}", "\"a.b\""),
        ("{\"id\":9,\"l\":[1,1.5]}", "\"l[]\""),
        ("{\"id\":9,\"l\":[null]}", "\"l[]\""),
        ("{\"id\":9,\"f\":[1]}", "a list of 1 values where the type has 2"),
        ("{\"id\":9,\"a\":{\"b\":1,\"more\":1}}", "more"),
        ("{\"id\":9,\"a\":[1]}", "line 3"),
    ];
    for (nth, (line, expected)) in wrong.iter().enumerate() {
        let file = kodiak.file("rows.jsonl", &format!("{good}{line}\n"));
        let table = format!("t{nth}");
        let import = ["import", "db", &table, &file, "--key", "id", "--schema", schema];
        let error = kodiak.refuses(&import);
        assert!(
            error.contains("line 3") && error.contains("rows.jsonl") && error.contains(expected),
            "{line}: {error}"
        );
        kodiak.prints(&[&import[..], &["--rejects", &format!("{table}.rejects")]].concat());
        assert_eq!(kodiak.prints(&["export", "db", &table, "--format", "jsonl"]), good);
    }
}

#[test]
fn a_member_that_is_there_twice_rejects_the_row() {
    let kodiak = Kodiak::new();
    let lines = [
        ("{\"id\":1,\"a\":{\"x\":1},\"m\":{\"k\":1,\"k\":2}}", None),
        ("{\"id\":2,\"id\":3}", Some("it has the member \"id\" twice")),
        ("{\"id\":4,\"\\u0069d\":5}", Some("it has the member \"id\" twice")),
        (
            "{\"id\":6,\"a\":{\"x\":1,\"x\":1}}",
            Some("\"a\": it has the member \"x\" twice"),
        ),
        (
            "{\"id\":7,\"l\":[null,{\"x\":1},{\"x\":1,\"x\":1}]}",
            Some("\"l[]\": it has the member \"x\" twice"),
        ),
        (
            "{\"id\":8,\"s\":{\"k\":{\"x\":null,\"x\":1}}}",
            Some("\"s{}\": it has the member \"x\" twice"),
        ),
    ];
    let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    let file = kodiak.file("rows.jsonl", &text);
    let schema = "id:int8 not null,a:struct<x:int8>,l:list<struct<x:int8>>,m:map<text,int8>,s:map<text,struct<x:int8>>";
    let import = [
        "import",
        "db",
        "t",
        &file,
        "--key",
        "id",
        "--schema",
        schema,
        "--rejects",
    ];
    kodiak.prints(&[&import[..], &["rejected"]].concat());
    // Others, which are not read, make no difference.
    kodiak.prints(&[&import[..], &["again", "--columns", "id,a,l,m,s"]].concat());
    for name in ["rejected", "again"] {
        let rejected = std::fs::read_to_string(kodiak.path(name)).expect("written");
        let found = rejected.lines().map(|line| {
            let reject: serde_json::Value = serde_json::from_str(line).expect("JSON");
            (
                reject["line"].as_u64().expect("a line"),
                reject["reason"].as_str().expect("a reason").to_owned(),
            )
        });
        let expected = (1..)
            .zip(&lines)
            .filter_map(|(line, (_, reason))| Some((line, reason.as_ref()?.to_string())));
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
    assert_eq!(
        kodiak.prints(&["export", "db", "t", "--format", "jsonl"]),
        "{\"id\":1,\"a\":{\"x\":1},\"l\":null,\"m\":{\"k\":1,\"k\":2},\"s\":null}\n",
        "maps keep both"
    );
    // Without a schema, and as objects.
    kodiak.prints(&[
        "import",
        "db",
        "inferred",
        &file,
        "--key",
        "id",
        "--rejects",
        "r1",
        "--columns",
        "id,a",
    ]);
    assert_eq!(
        kodiak.prints(&["export", "db", "inferred", "--columns", "id"]),
        "id\n1\n7\n8\n"
    );
    let objects = kodiak.refuses(&["import", "db", "objects", &file, "--key", "id", "--key-value"]);
    assert!(objects.contains("line 2: it has the member \"id\" twice"), "{objects}");
    let csv = kodiak.file("rows.csv", "id,a\n1,\"{\"\"x\"\":1,\"\"x\"\":2}\"\n");
    let nested = [
        "import",
        "db",
        "csv",
        &csv,
        "--key",
        "id",
        "--schema",
        "id:int8,a:struct<x:int8>",
    ];
    let refused = kodiak.refuses(&nested);
    assert!(
        refused.contains("line 2: column \"a\": it has the member \"x\" twice"),
        "{refused}"
    );
}

#[test]
fn marks_of_the_order_of_bytes_are_passed_over() {
    let kodiak = Kodiak::new();
    for (name, text) in [
        ("rows.jsonl", "\u{feff}{\"id\":1,\"n\":2}\n{\"id\":2,\"n\":3}\n"),
        ("line.jsonl", "\u{feff}\n{\"id\":1,\"n\":2}\n{\"id\":2,\"n\":3}\n"),
        ("rows.csv", "\u{feff}id,n\n1,2\n2,3\n"),
        ("quoted.csv", "\u{feff}\"id\",n\r\n1,2\r\n2,3"),
    ] {
        let (file, table) = (kodiak.file(name, text), name.replace('.', "_"));
        kodiak.prints(&["import", "db", &table, &file, "--key", "id", "--batch", "1"]);
        assert_eq!(kodiak.prints(&["export", "db", &table]), "id,n\n1,2\n2,3\n", "{name}");
    }
    let empty = kodiak.file("empty.csv", "\u{feff}");
    assert!(
        kodiak
            .refuses(&["import", "db", "e", &empty, "--key", "id"])
            .contains("it has no header")
    );
    let utf16 = |name: &str, little: bool, mark: bool| {
        let text = if mark { "\u{feff}id,n\n1,2\n" } else { "id,n\n1,2\n" };
        let units = text.encode_utf16().flat_map(|unit| match little {
            true => unit.to_le_bytes(),
            false => unit.to_be_bytes(),
        });
        std::fs::write(kodiak.path(name), units.collect::<Vec<u8>>()).expect("written");
        let refused = kodiak.refuses(&["import", "db", "u", name, "--key", "id"]);
        assert!(
            refused.contains("it is UTF-16: convert it to UTF-8 first (iconv -f UTF-16"),
            "{refused}"
        );
    };
    for name in ["u.csv", "u.jsonl"] {
        for (little, mark) in [(true, true), (true, false), (false, true), (false, false)] {
            utf16(name, little, mark);
        }
    }
}
