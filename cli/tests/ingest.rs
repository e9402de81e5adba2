//! Files of other writers into tables, past the log.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::ipc::writer::FileWriter;
use support::Kodiak;

fn feather(kodiak: &Kodiak, name: &str, ids: std::ops::Range<i32>) -> String {
    let names = StringArray::from_iter_values(ids.clone().map(|id| format!("name {id}")));
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(ids));
    let batch = RecordBatch::try_from_iter([("id", ids), ("name", Arc::new(names) as ArrayRef)]).expect("columns");
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
    writer.write(&batch).expect("memory");
    std::fs::write(kodiak.path(name), writer.into_inner().expect("memory")).expect("written");
    name.to_owned()
}

#[test]
fn sorted_files_become_a_table() {
    let kodiak = Kodiak::new();
    let (a, b) = (
        feather(&kodiak, "a.feather", 0..500),
        feather(&kodiak, "b.arrow", 500..600),
    );
    assert!(kodiak.refuses(&["ingest", "db", "t", &a]).contains("--key"));
    let printed = kodiak.prints(&["ingest", "db", "t", &a, &b, "--key", "id"]);
    assert!(printed.starts_with("600 rows into table t"), "{printed}");
    assert_eq!(kodiak.prints(&["scan", "db", "t", "--count"]), "600\n");
    let error = kodiak.refuses(&["ingest", "db", "t", &b, &a]);
    assert!(
        error.contains("a.feather") && error.contains("row 1") && error.contains("follow each other"),
        "{error}"
    );
    let explicit = [
        "ingest",
        "db",
        "wide",
        &a,
        "--key",
        "id desc",
        "--schema",
        "id:int64,name:text",
    ];
    assert!(kodiak.refuses(&explicit).contains("must ascend"));
    assert!(
        kodiak
            .refuses(&["ingest", "db", "t", "none.feather"])
            .contains("none.feather")
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(kodiak.path("a.feather"), kodiak.path("link")).expect("a link");
        kodiak.prints(&["ingest", "db", "linked", "link", "--key", "id"]);
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => walk(&path, found),
            false => found.push(path),
        }
    }
}

/// Each of the published test files, damaged or not, is ingested or refused in one line, in bounded memory.
#[test]
#[cfg(target_os = "linux")]
fn the_published_corpora_neither_panic_nor_abort() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let mut files = Vec::new();
    walk(&corpora, &mut files);
    if files.is_empty() {
        eprintln!("skipped: there are no corpora beside the repository");
        return;
    }
    let kodiak = Kodiak::new();
    kodiak.prints(&["create", "db", "kv"]);
    let (mut taken, mut refused) = (0, 0);
    for chunk in files.chunks(8) {
        // One process for each file: an abort must be seen.
        let children: Vec<_> = chunk
            .iter()
            .enumerate()
            .map(|(nth, file)| {
                let mut command = Command::new("sh");
                let script = "ulimit -v 3000000; exec \"$0\" ingest \"$1\" t \"$2\" --key \"$3\"";
                command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_kodiak"));
                command
                    .arg(kodiak.path(&format!("db{nth}")))
                    .arg(file)
                    .arg(first_column(file));
                command
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped());
                (file, command.spawn().expect("started"))
            })
            .collect();
        for (nth, (file, child)) in children.into_iter().enumerate() {
            let output = child.wait_with_output().expect("ended");
            let errors = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(0) => taken += 1,
                Some(1) => {
                    refused += 1;
                    assert_eq!(errors.lines().count(), 1, "{}: {errors}", file.display());
                    assert!(errors.starts_with("kodiak: "), "{}: {errors}", file.display());
                }
                _ => panic!("{}: {} {errors}", file.display(), output.status),
            }
            let _ = std::fs::remove_dir_all(kodiak.path(&format!("db{nth}")));
        }
    }
    eprintln!("{taken} ingested, {refused} refused");
    assert!(taken >= 1 && refused >= 100, "{taken} ingested, {refused} refused");
}

/// A column that the file may be sorted by.
fn first_column(file: &Path) -> String {
    let name = file.to_string_lossy();
    let known = [
        ("alltypes", "id"),
        ("int32_decimal", "value"),
        ("delta_b", "c_customer_sk"),
        ("orc", "_col0"),
    ];
    let found = known.iter().find(|(part, _)| name.contains(part));
    found.map_or("a", |(_, column)| column).to_owned()
}
