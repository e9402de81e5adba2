//! Tables with other columns.

mod support;

use support::Kodiak;

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
        "id: Int64 not null, key\nrank: Int8 not null\nyear: Int32\ncalled: Utf8\n"
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
