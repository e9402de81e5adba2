//! Files of other programs' writers, with varied options: their rows are read exactly, or they are refused with a word that helps.
//!
//! Needs the virtual environment that `tests/interop/setup.sh` makes; without it, the test prints that it was skipped.

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::ipc::writer::FileWriter;
use kodiak::core::storage::Storage;
use kodiak::outside::OutsideFile;
use kodiak::{ErrorKind, LocalStorage};
use kodiak_tests::tools::Python;

/// All rows.
fn read(path: &Path) -> kodiak::Result<(arrow::datatypes::SchemaRef, Vec<RecordBatch>)> {
    let file = OutsideFile::open(LocalStorage::new().open(path)?)?;
    let all: Vec<usize> = (0..file.schema().fields().len()).collect();
    let batches = file.batches(&all)?;
    let schema = batches.schema().clone();
    Ok((schema, batches.collect::<kodiak::Result<_>>()?))
}

#[test]
fn files_of_other_writers_are_read_exactly_or_refused() {
    let Some(python) = Python::find(env!("CARGO_TARGET_TMPDIR"), "files of other writers") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut session = python.session("write_files.py", dir.path());
    let made = session
        .ask(&serde_json::json!({"make": true}))
        .expect("all are written");
    let cases = made["cases"].as_array().expect("a list");
    assert!(cases.len() > 70, "{made}");
    let (mut wrong, mut refusals) = (Vec::new(), 0);
    for case in cases {
        let name = case["file"].as_str().expect("a name");
        let path = dir.path().join(name);
        if case["refused"] == true {
            let error = read(&path).err().map(|error| (error.kind(), error.to_string()));
            match error {
                Some((ErrorKind::InvalidInput | ErrorKind::Unsupported, _)) => refusals += 1,
                other => wrong.push(format!("{name} should be refused: {other:?}")),
            }
            continue;
        }
        if case["malformed"] == true {
            // To be refused in whatever words, not to be read wrongly; later versions of these tools may agree.
            match read(&path) {
                Err(_) => refusals += 1,
                Ok(_) => wrong.push(format!("{name} can be read: compare it as well")),
            }
            continue;
        }
        let (schema, batches) = match read(&path) {
            Ok(read) => read,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let found = File::create(dir.path().join("found.arrow")).expect("a file");
        let mut writer = FileWriter::try_new(found, &schema).expect("Arrow's own types");
        for batch in &batches {
            writer.write(batch).expect("written");
        }
        writer.finish().expect("written");
        let question = serde_json::json!({"file": name, "found": "found.arrow"});
        if let Err(error) = session.ask(&question) {
            wrong.push(format!("{name}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refusals >= 5, "only {refusals} files were refused");
}
