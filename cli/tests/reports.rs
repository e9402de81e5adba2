//! What an import says when it is done, and when it ended early.

mod support;

use std::process::Stdio;

use support::Kodiak;

#[test]
fn rows_that_replaced_others_are_counted() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,n\n1,1\n2,2\n1,3\n1,4\n");
    for (table, more) in [("t", &[][..]), ("small", &["--batch", "1"]), ("kv", &["--key-value"])] {
        let import = ["import", "db", table, &file, "--key", "id"];
        let printed = kodiak.prints(&[&import[..], more].concat());
        assert!(
            printed.starts_with("4 rows") && printed.contains("; 2 of them replaced ones before them"),
            "{printed}"
        );
    }
    let single = kodiak.file("single.csv", "id,n\n1,1\n2,2\n2,3\nx\n");
    let printed = kodiak.prints(&["import", "db", "u", &single, "--key", "id", "--rejects", "r"]);
    assert!(
        printed.contains("; 1 of them replaced one before it that had its key; 1 rejected"),
        "{printed}"
    );
    let distinct = kodiak.file("distinct.csv", "id,n\n1,1\n2,2\n");
    for _ in 0..2 {
        // The second time the table is not empty, of which nothing is told.
        let printed = kodiak.prints(&["import", "db", "d", &distinct, "--key", "id"]);
        assert!(
            printed.starts_with("2 rows") && !printed.contains("replaced"),
            "{printed}"
        );
    }
}

#[test]
fn rows_that_replaced_others_are_counted_in_tables_that_had_some() {
    let kodiak = Kodiak::new();
    let old = kodiak.file("old.csv", "id,n\n1,1\n2,2\n3,3\n");
    let new = kodiak.file("new.csv", "id,n\n2,5\n4,4\n4,6\n5,5\n3,7\n");
    let distinct = kodiak.file("distinct.csv", "id,n\n10,1\n11,2\n");
    for (table, more) in [("t", &[][..]), ("kv", &["--key-value"])] {
        let import = |file: &str, count: &[&str]| {
            kodiak.prints(&[&["import", "db", table, file, "--key", "id"], more, count].concat())
        };
        let counted = &["--count-replaced"][..];
        let told = import(&old, counted);
        assert!(
            told.ends_with("; none of them replaced another\n"),
            "empty before: {told}"
        );
        // Rows that were deleted are not replaced, wherever they are.
        kodiak.prints(&["compact", "db"]);
        kodiak.prints(&["delete", "db", table, "2"]);
        let told = import(&new, counted);
        assert!(
            told.contains("; 2 of them replaced ones before them"),
            "4 and 3: {told}"
        );
        let told = import(&new, &["--count-replaced", "--batch", "1"]);
        assert!(told.contains("; 5 of them replaced ones before them"), "{told}");
        let told = import(&distinct, counted);
        assert!(told.ends_with("; none of them replaced another\n"), "{told}");
        assert!(!import(&new, &[]).contains("replaced"), "it was not asked for");
    }
    kodiak.prints(&[
        "create",
        "db",
        "short",
        "--schema",
        "id:int64 not null, n:int64",
        "--key",
        "id",
        "--ttl",
        "1h",
    ]);
    let refused = kodiak.refuses(&["import", "db", "short", &new, "--count-replaced"]);
    assert!(refused.contains("end by its TTL"), "{refused}");
}

#[test]
fn an_import_that_fails_says_what_it_left_and_how_to_go_on() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,n\n1,1\n\"2\",\"a\nb\"\n3,3\n4\n5,5\n");
    let import = ["import", "db", "t", &file, "--key", "id", "--batch", "2"];
    let error = kodiak.refuses(&import);
    assert!(
        error.contains("line 6: 1 fields where the header has 2 (--rejects FILE goes on without such rows)")
            && error.contains("; the rows before line 5 are imported: --resume goes on there")
            && error.contains("if the file is changed, import it again, which replaces them"),
        "{error}"
    );
    assert_eq!(kodiak.prints(&["scan", "db", "t", "--count"]), "2\n");
    let printed = kodiak.prints(&[&import[..], &["--resume", "--rejects", "r"]].concat());
    assert!(
        printed.starts_with("2 rows") && printed.contains("after 2 rows before"),
        "{printed}"
    );
    assert_eq!(kodiak.prints(&["scan", "db", "t", "--count"]), "4\n");
    let numbered = kodiak.refuses(&["import", "db", "objects", &file, "--batch", "2"]);
    assert!(numbered.contains("drop the table and import it again"), "{numbered}");
    let nothing = kodiak.refuses(&["import", "db", "v", &file, "--key", "id"]);
    assert!(
        nothing.contains("line 6") && !nothing.contains("are imported"),
        "{nothing}"
    );
    let stdin = std::fs::File::open(kodiak.path(&file)).expect("there");
    let mut piped = kodiak.command(&[
        "import", "db", "p", "-", "--format", "csv", "--key", "id", "--batch", "2",
    ]);
    let output = piped.stdin(Stdio::from(stdin)).output().expect("started");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("before line 5 are imported")
            && !error.contains("--resume")
            && error.contains("import it again"),
        "{error}"
    );
    // Files without lines have rows.
    let file = kodiak.file("good.csv", "id,n\n1,1\n2,2\n3,300\n");
    kodiak.prints(&["import", "db", "source", &file, "--key", "id"]);
    kodiak.prints(&["export", "db", "source", "--output", "good.parquet"]);
    let narrow = [
        "import",
        "db",
        "n",
        "good.parquet",
        "--key",
        "id",
        "--schema",
        "id:int8,n:int8",
    ];
    let error = kodiak.refuses(&narrow);
    assert!(error.contains("row 3: column \"n\""), "{error}");
}
