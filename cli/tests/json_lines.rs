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
