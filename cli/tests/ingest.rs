//! Files of other writers into tables, past the log.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::ipc::writer::FileWriter;
use kodiak_core::conformance::extent;
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

/// Each of the published test files, damaged or not, is imported or refused in one line, in bounded memory.
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
    let (mut taken, mut refused) = (0, 0);
    // A process for each file: an abort must be seen. The formats' own tests read all of them in one process.
    let step = extent("KODIAK_CORPORA_STEP", [5, 1, 1]) as usize;
    for (number, file) in files.into_iter().step_by(step).enumerate() {
        let format = match file
            .strip_prefix(&corpora)
            .expect("below")
            .iter()
            .next()
            .and_then(|part| part.to_str())
        {
            Some("arrow") => "feather",
            Some("parquet") => "parquet",
            _ => "orc",
        };
        let columns = flat_columns(&file);
        let mut command = Command::new("sh");
        let script = "ulimit -v 3000000; exec \"$0\" import db \"$4\" \"$1\" --format \"$2\" --columns \"$3\"";
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_kodiak"));
        let output = command
            .arg(&file)
            .arg(format)
            .arg(columns)
            .arg(format!("t{number}"))
            .current_dir(kodiak.path(""))
            .output()
            .expect("started");
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
    }
    eprintln!("{taken} imported, {refused} refused");
    assert!(taken >= 5 && refused >= 20, "{taken} imported, {refused} refused");
}

/// The names of the columns that can be read, as the arguments take them.
fn flat_columns(file: &Path) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let file = kodiak::core::storage::Storage::open(&kodiak::LocalStorage::new(), file);
    let opened = file.and_then(kodiak::outside::OutsideFile::open);
    std::panic::set_hook(hook);
    let Ok(opened) = opened else { return String::new() };
    let fields = opened.schema().fields().iter();
    let names: Vec<String> = fields
        .filter(|field| !field.data_type().is_nested() && !field.name().contains(','))
        .map(|field| field.name().clone())
        .collect();
    names.join(",")
}
