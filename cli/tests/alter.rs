//! Tables with other columns.

mod support;

use support::Kodiak;

/// A database with a table `t` of two columns, and the file that its row came from.
fn imported() -> (Kodiak, String) {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,name\n1,ada\n");
    let schema = "id:int64, name:text";
    kodiak.prints(&["import", "db", "t", &file, "--key", "id", "--schema", schema]);
    (kodiak, file)
}

#[test]
fn columns_come_and_go_and_exports_have_those_of_now() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,name,year\n1,ada,1815\n2,bob,\n");
    let schema = "id:int64, name:text, year:int16";
    kodiak.prints(&["import", "db", "t", &file, "--key", "id", "--schema", schema]);
    let printed = kodiak.prints(&[
        "alter",
        "db",
        "t",
        "--rename",
        "name=called",
        "--widen",
        "year:int32",
        "--add",
        "rank:int8 not null default 3",
        "--order",
        "id,rank,year,called",
    ]);
    assert_eq!(
        printed,
        "id: int64  # key\nrank: int8 not null\nyear: int32\ncalled: text\n"
    );
    let csv = |kodiak: &Kodiak| kodiak.prints(&["export", "db", "t"]);
    assert_eq!(csv(&kodiak), "id,rank,year,called\n1,3,1815,ada\n2,3,,bob\n");
    kodiak.prints(&["alter", "db", "t", "--drop", "year", "--add", "year:date"]);
    assert_eq!(csv(&kodiak), "id,rank,called,year\n1,3,ada,\n2,3,bob,\n");
    let said = kodiak.refuses(&["alter", "db", "t", "--drop", "id"]);
    assert!(said.contains("\"id\" is part of the key"), "{said}");
    let said = kodiak.refuses(&["alter", "db", "t", "--add", "x:int8 default many"]);
    assert!(said.contains("\"many\""), "{said}");
    kodiak.prints(&["verify", "db"]);
    let dumped = kodiak.prints(&["dump", "manifest", "db"]);
    assert!(dumped.contains("schema 2 of table 1"), "{dumped}");
}

#[test]
fn printed_columns_make_a_table_of_the_same_columns() {
    let (kodiak, file) = imported();
    let added = [
        "tags:list<text not null>",
        "\"x, y\": struct<a: int64, \"b: c\": utf8 not null>",
        "at:map<utf8, timestamp(us, Europe/Rome)>",
        "word:dictionary<int32, utf8>",
    ];
    let adds = added.iter().flat_map(|column| ["--add", column]);
    let altered = kodiak.prints(&["alter", "db", "t"].into_iter().chain(adds).collect::<Vec<_>>());
    let printed = kodiak.prints(&["tables", "db", "t"]);
    assert_eq!(printed, altered);
    assert_eq!(
        printed,
        "id: int64  # key\nname: text\ntags: list<text not null>\n\"x, y\": struct<a: int64, \"b: c\": text not null>\n\
         at: map<text, timestamp(us, Europe/Rome)>\nword: dictionary<int32, text>\n"
    );
    let columns = kodiak.file("columns", &printed);
    kodiak.prints(&["import", "db", "u", &file, "--key", "id", "--schema-file", &columns]);
    assert_eq!(kodiak.prints(&["tables", "db", "u"]), printed);
    let said = kodiak.refuses(&["alter", "db", "t", "--add", "more:list<struct<a: intt>>"]);
    assert!(
        said.contains("character 21: column \"more\": the unknown type \"intt\""),
        "{said}"
    );
}

#[test]
fn imported_rows_without_a_column_have_its_default() {
    let (kodiak, _) = imported();
    let rank = "rank:int8 not null default 3";
    kodiak.prints(&[
        "alter",
        "db",
        "t",
        "--add",
        rank,
        "--add",
        "born:date default 1999-12-31",
    ]);
    // The file lacks them, has one with a value that is missing, or some of its objects do.
    let lacking = kodiak.file("more.csv", "id,name\n2,bob\n");
    kodiak.prints(&["import", "db", "t", &lacking]);
    let missing = kodiak.file("most.csv", "id,name,born\n3,cleo,\n");
    kodiak.prints(&["import", "db", "t", &missing]);
    let objects = kodiak.file(
        "all.jsonl",
        "{\"id\":4,\"name\":\"dan\"}\n{\"id\":5,\"rank\":null}\n{\"id\":6,\"rank\":1,\"born\":null}\n{\"id\":7,\"born\":\"x\"}\n",
    );
    let said = kodiak.prints(&["import", "db", "t", &objects, "--rejects", "rejected"]);
    assert!(said.contains("2 rejected"), "{said}");
    let rejected = std::fs::read_to_string(kodiak.path("rejected")).expect("written");
    assert!(
        rejected.contains("\"line\":2") && rejected.contains("\"column\":\"rank\""),
        "{rejected}"
    );
    assert!(
        rejected.contains("\"line\":4") && rejected.contains("\"column\":\"born\""),
        "{rejected}"
    );
    assert_eq!(
        kodiak.prints(&["export", "db", "t"]),
        "id,name,rank,born\n1,ada,3,1999-12-31\n2,bob,3,1999-12-31\n3,cleo,3,\n4,dan,3,1999-12-31\n6,,1,\n"
    );
}

/// The arguments that make tables of three columns.
fn make<'a>(tables: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let columns = "id:int64 not null, name:text, at:timestamp(us, UTC)";
    [&["create", "db"], tables, &["--schema", columns], more].concat()
}

#[test]
fn tables_are_made_with_columns_all_of_them_or_none() {
    let kodiak = Kodiak::new();
    kodiak.prints(&make(&["a", "b"], &["--key", "name,-id", "--ttl", "30d"]));
    let printed = kodiak.prints(&["tables", "db", "b"]);
    assert_eq!(
        printed,
        "id: int64 not null  # key 2 desc\nname: text  # key 1\nat: timestamp(us, UTC)\n"
    );
    kodiak.prints(&[
        "import",
        "db",
        "a",
        &kodiak.file("rows.csv", "id,name,at\n1,x,2020-01-01T00:00:00Z\n"),
    ]);
    assert!(kodiak.prints(&["get", "db", "a", "x,1"]).contains("2020-01-01"));
    // What is wrong is told before anything is made.
    assert!(
        kodiak
            .refuses(&make(&["c"], &["--key", "nome"]))
            .contains("id, name, at")
    );
    assert!(
        kodiak
            .refuses(&make(&["c", "a"], &["--key", "id"]))
            .contains("\"a\" already")
    );
    assert!(
        kodiak
            .refuses(&["create", "db", "c", "--key", "id"])
            .contains("--schema")
    );
    kodiak.misunderstands(&make(&["c"], &[]));
    kodiak.misunderstands(&make(&[], &["--key", "id"]));
    assert_eq!(kodiak.prints(&["tables", "db"]), "a\nb\n");
    kodiak.refuses(&["create", "new", "t", "--merge", "multiply"]);
    kodiak.refuses(&["create", "new", "t", "--ttl", "soon"]);
    assert!(
        kodiak
            .refuses(&["create", "new", "t", "--ttl", "0s"])
            .contains("without --ttl")
    );
    assert!(
        !kodiak.path("new").exists(),
        "no database is made for a table that cannot be"
    );
}
