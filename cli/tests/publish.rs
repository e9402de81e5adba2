//! Tables for other programs' readers.

mod support;

use support::Kodiak;

#[test]
fn a_table_is_published_and_withdrawn() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,name\n1,ada\n2,bob\n");
    let more = kodiak.file("more.csv", "id,name\n2,bo\n");
    let parquet = ["--set", "format.kind=parquet"];
    kodiak.prints(&[&["import", "db", "people", &file, "--key", "id"], &parquet[..]].concat());
    let first = kodiak.prints(&["publish", "db", "people"]);
    assert!(
        first.starts_with("2 rows of table people in ") && first.contains("exact as they lie"),
        "{first}"
    );
    assert!(first.contains("Delta table\n"), "{first}");
    kodiak.prints(&["import", "db", "people", &more]);
    let second = kodiak.prints(&["publish", "db", "people"]);
    assert!(second.contains("1 rows of the files are superseded"), "{second}");
    let dir = kodiak.path("db/published/000001");
    let view = std::fs::read_to_string(dir.join("view.sql")).expect("a script");
    assert!(
        view.contains("CREATE OR REPLACE VIEW \"people\"") && view.contains("ANTI JOIN"),
        "{view}"
    );
    for name in ["PUBLISHED.json", "read.py", "_delta_log/00000000000000000001.json"] {
        assert!(dir.join(name).is_file(), "{name}");
    }
    kodiak.prints(&["publish", "db", "people", "--withdraw"]);
    assert!(!dir.exists());
    assert_eq!(kodiak.prints(&["export", "db", "people"]), "id,name\n1,ada\n2,bo\n");
    kodiak.prints(&["verify", "db"]);
}

#[test]
fn what_reads_a_publication_is_told() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,name\n1,ada\n");
    let columns = ["--key", "id", "--schema", "id:uint16 not null, name:text"];
    for (format, view, why) in [("parquet", true, "UInt16"), ("feather", false, "Parquet files")] {
        let db = format!("db-{format}");
        let set = format!("format.kind={format}");
        kodiak.prints(&[&["import", &db, "people", &file, "--set", &set], &columns[..]].concat());
        let told = kodiak.prints(&["publish", &db, "people"]);
        assert_eq!(told.contains("read it by view.sql"), view, "{told}");
        assert_eq!(told.contains("[[format.levels]], to \"parquet\""), !view, "{told}");
        assert!(
            told.contains("read.py") && told.contains("no Delta table") && told.contains(why),
            "{told}"
        );
    }
}

#[test]
fn columns_whose_names_differ_in_capital_letters_are_told_apart() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", "id,a,A,file_row_number\n1,x,y,7\n2,z,w,8\n");
    let more = kodiak.file("more.csv", "id,a,A,file_row_number\n2,v,u,9\n");
    kodiak.prints(&[
        "import",
        "db",
        "t",
        &file,
        "--key",
        "id",
        "--set",
        "format.kind=parquet",
    ]);
    kodiak.prints(&["import", "db", "t", &more]);
    let told = kodiak.prints(&["publish", "db", "t"]);
    assert!(
        told.contains("no Delta table: the names \"a\" and \"A\" differ in capital letters only"),
        "{told}"
    );
    let view = std::fs::read_to_string(kodiak.path("db/published/000001/view.sql")).expect("a script");
    assert!(
        view.contains("_data.c1 AS \"a\", _data.c2 AS \"A\"") && !view.contains("file_row_number = true"),
        "{view}"
    );
}

#[test]
fn orc_files_keep_all_times_and_those_that_pyarrow_does_not_read_are_told() {
    let kodiak = Kodiak::new();
    let near = "id,ts\n1,1969-12-31T23:59:59.5\n2,1969-12-31T23:59:58.25\n";
    for (db, rows, beyond) in [
        ("near", near.to_owned(), false),
        (
            "far",
            format!("{near}3,3000-01-01T00:00:00\n4,0001-01-01T00:00:00.000001\n"),
            true,
        ),
    ] {
        let file = kodiak.file("rows.csv", &rows);
        let exported = kodiak.path(&format!("{db}.orc")).to_string_lossy().into_owned();
        kodiak.prints(&["import", db, "t", &file, "--key", "id", "--set", "format.kind=orc"]);
        kodiak.prints(&["compact", db]);
        let told = kodiak.prints(&["publish", db, "t"]);
        assert_eq!(told.contains("which pyarrow does not read"), beyond, "{told}");
        // What is known of the files is not looked for again.
        assert_eq!(kodiak.prints(&["publish", db, "t"]), told);
        let marker = std::fs::read_to_string(kodiak.path(&format!("{db}/tables/000001/EXACT.json"))).expect("a marker");
        assert_eq!(marker.contains("\"exact\": true"), !beyond, "{marker}");
        kodiak.prints(&["export", db, "t", "--output", &exported]);
        kodiak.prints(&["import", &format!("{db}-again"), "t", &exported, "--key", "id"]);
        let [own, again] = [db.to_owned(), format!("{db}-again")].map(|db| kodiak.prints(&["export", &db, "t"]));
        assert_eq!(own.replace("000000000", ""), again.replace("000000000", ""));
        assert!(again.contains("1969-12-31T23:59:59.5"), "{again}");
        kodiak.prints(&["verify", db]);
    }
}
