//! Lists of data files: what a record says of each, in pieces that are written once, so that a publication writes as much as has changed.
//!
//! A list has a line for each file that was new or another one than before in some publication, and for each that was gone. Of several
//! lines of a run the newest counts. A publication that changes anything writes one list, with which the lists before become one as long as
//! they are not twice as long, as levels of a log-structured merge tree do. So there are never more lists than the logarithm of the number of
//! files, and each line is written again about as often.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kodiak_core::compaction::RunId;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::delta::Vector;
use super::record::{Files, PublishedFile, Record};
use super::write_file;
use crate::maintenance::read_small;

/// The columns of a list.
pub const COLUMNS: [&str; 14] = [
    "run",
    "publication",
    "file",
    "kind",
    "bytes",
    "rows",
    "schema",
    "settled",
    "operands",
    "dead",
    "dead_rows",
    "vector",
    "vector_name",
    "vector_bytes",
];

/// A list must be so many times as long as the next one.
const RATIO: u64 = 2;

/// A list that a record names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Its name in the directory.
    pub file: String,
    /// How many lines it has below the names of its columns.
    pub lines: u64,
    /// CRC32 (IEEE) of all its bytes.
    pub crc32: u32,
    /// The first publication of which it has lines.
    pub since: u64,
}

/// Runs whose files are gone, and since which publication. Only those that some list has a line of.
pub type Gone = BTreeMap<RunId, u64>;

/// What lists come to: the files, by the numbers of their runs, without their layouts, and what is gone.
///
/// # Errors
/// `Corruption` naming a list that is not as it was written; `NotFound`, `Io`.
pub fn read(storage: &dyn Storage, dir: &Path, lists: &[List]) -> Result<(Files, Gone)> {
    let (mut files, mut gone) = (Files::new(), Gone::new());
    for list in lists {
        let path = dir.join(&list.file);
        let bytes = read_small(storage, &path)?;
        let damaged = || Error::corruption("it is not the list of files that the record names").with_file(&path);
        if crc32fast::hash(&bytes) != list.crc32 {
            return Err(damaged());
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
        for line in text.lines().skip(1) {
            let file = parse(line).ok_or_else(damaged)?;
            let (run, publication) = (file.run, file.publication);
            if file.file.is_empty() {
                files.remove(&run);
                gone.insert(run, publication);
            } else {
                files.insert(run, Arc::new(file));
            }
        }
    }
    Ok((files, gone))
}

/// Writes down how the files of a record differ from those of `known`, the last one, and has the record name the lists that come to them.
///
/// # Errors
/// `Io`.
pub fn write(storage: &dyn Storage, dir: &Path, known: Option<&Record>, record: &mut Record) -> Result<()> {
    let generation = record.generation;
    // Earlier versions wrote none.
    let known = known.filter(|known| !known.lists.is_empty());
    for (run, file) in &mut record.files {
        let old = known.and_then(|known| known.files.get(run));
        if old.is_some_and(|old| Arc::ptr_eq(old, file)) {
            continue;
        }
        let same = old.filter(|old| {
            let as_before = PublishedFile {
                publication: old.publication,
                ..PublishedFile::clone(file)
            };
            line(old) == line(&as_before)
        });
        Arc::make_mut(file).publication = same.map_or(generation, |old| old.publication);
    }
    record.gone = known.map(|known| known.gone.clone()).unwrap_or_default();
    for run in known.iter().flat_map(|known| known.files.keys()) {
        if !record.files.contains_key(run) {
            record.gone.insert(*run, generation);
        }
    }
    record.lists = known.map(|known| known.lists.clone()).unwrap_or_default();
    let (mut since, mut lines) = (generation, record.lines_since(generation));
    if lines == 0 {
        return Ok(());
    }
    while let Some(last) = record.lists.pop_if(|last| last.lines < RATIO * lines) {
        since = last.since;
        lines = record.lines_since(since);
    }
    if record.lists.is_empty() {
        record.gone.clear();
    }
    let mut all: BTreeMap<RunId, String> = BTreeMap::new();
    let files = record.data_files().filter(|file| file.publication >= since);
    all.extend(files.map(|file| (file.run, line(file))));
    let gone = record.gone.iter().filter(|(_, publication)| **publication >= since);
    all.extend(gone.map(|(run, publication)| (*run, format!("{run},{publication}{}", ",".repeat(COLUMNS.len() - 2)))));
    if all.is_empty() {
        return Ok(());
    }
    let mut text = COLUMNS.join(",") + "\n";
    for line in all.values() {
        text.push_str(line);
        text.push('\n');
    }
    let file = format!("files-{generation}.csv");
    write_file(storage, &dir.join(&file), text.as_bytes())?;
    record.lists.push(List {
        file,
        lines: all.len() as u64,
        crc32: crc32fast::hash(text.as_bytes()),
        since,
    });
    Ok(())
}

/// The line of a file. No value has a comma, a quote or a line break in it.
fn line(file: &PublishedFile) -> String {
    let vector = file.vector.as_ref();
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    [
        file.run.to_string(),
        file.publication.to_string(),
        file.file.clone(),
        file.kind.clone(),
        file.bytes.to_string(),
        file.rows.to_string(),
        number(file.schema.map(u64::from)),
        file.settled.to_string(),
        file.operands.to_string(),
        file.dead.clone().unwrap_or_default(),
        file.dead_rows.to_string(),
        vector.map(|vector| vector.file.clone()).unwrap_or_default(),
        vector.map(|vector| vector.encoded.clone()).unwrap_or_default(),
        number(vector.map(|vector| vector.bytes)),
    ]
    .join(",")
}

/// The file of a line, without a name if it is gone.
fn parse(line: &str) -> Option<PublishedFile> {
    let fields: Vec<&str> = line.split(',').collect();
    let fields: [&str; COLUMNS.len()] = fields.try_into().ok()?;
    let [
        run,
        publication,
        file,
        kind,
        bytes,
        rows,
        schema,
        settled,
        operands,
        dead,
        dead_rows,
        vector,
        name,
        length,
    ] = fields;
    let (run, publication) = (run.parse().ok()?, publication.parse().ok()?);
    if file.is_empty() {
        return Some(PublishedFile {
            run,
            publication,
            ..PublishedFile::default()
        });
    }
    let dead_rows = dead_rows.parse().ok()?;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Some(PublishedFile {
        run,
        publication,
        file: file.to_owned(),
        kind: kind.to_owned(),
        bytes: bytes.parse().ok()?,
        rows: rows.parse().ok()?,
        schema: given(schema).map(|schema| schema.parse()).transpose().ok()?,
        settled: settled.parse().ok()?,
        operands: operands.parse().ok()?,
        dead: given(dead),
        dead_rows,
        vector: match given(vector) {
            Some(file) => Some(Vector {
                file,
                encoded: name.to_owned(),
                bytes: length.parse().ok()?,
                rows: dead_rows,
            }),
            None => None,
        },
        ..PublishedFile::default()
    })
}

#[cfg(test)]
mod tests {
    use kodiak_storage::MemoryStorage;

    use super::*;

    fn file(run: RunId, dead_rows: u64) -> PublishedFile {
        let vector = Vector {
            file: format!("deletion_vector_{run}.bin"),
            encoded: "ab^-aqEH.-t@S}K{vb[*k^".to_owned(),
            bytes: 40,
            rows: dead_rows,
        };
        PublishedFile {
            run,
            file: format!("{run:010}.parquet"),
            kind: "parquet".to_owned(),
            bytes: 1000 + run,
            rows: 100,
            schema: Some(0),
            settled: true,
            dead: (dead_rows > 0).then(|| format!("{run:010}.dead-{dead_rows}.parquet")),
            dead_rows,
            vector: (dead_rows > 0).then_some(vector),
            ..PublishedFile::default()
        }
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let mut operands = file(4, 0);
        (operands.operands, operands.settled, operands.schema) = (true, false, None);
        for file in [file(1, 0), file(2, 7), operands] {
            assert_eq!(parse(&line(&file)), Some(file));
        }
        assert_eq!(
            line(&file(2, 7)),
            "2,0,0000000002.parquet,parquet,1002,100,0,true,false,0000000002.dead-7.parquet,7,deletion_vector_2.bin,ab^-aqEH.-t@S}K{vb[*k^,40"
        );
        assert_eq!(parse(&line(&file(2, 7)).replace("true", "yes")), None);
        assert_eq!(parse("1,2,3"), None);
    }

    #[test]
    fn publications_write_what_has_changed_and_lists_come_to_all_files() {
        let (storage, dir) = (MemoryStorage::new(), Path::new("/published"));
        storage.create_dir_all(dir).expect("a directory");
        let mut files: BTreeMap<RunId, PublishedFile> = (0..1000).map(|run| (run, file(run, 0))).collect();
        let (mut known, mut written) = (None::<Record>, 0);
        let rounds = 1500;
        for generation in 1..=rounds {
            // One file comes, one is gone, one has another dead row.
            if generation > 1 {
                files.insert(1000 + generation, file(1000 + generation, 0));
                files.remove(&(generation * 7 % (1000 + generation)));
                let changed = *files.keys().nth(generation as usize * 31 % files.len()).expect("a run");
                let dead_rows = files[&changed].dead_rows + 1;
                files.insert(changed, file(changed, dead_rows));
            }
            let mut record = Record {
                generation,
                files: files.iter().map(|(run, file)| (*run, Arc::new(file.clone()))).collect(),
                ..Record::default()
            };
            write(&storage, dir, known.as_ref(), &mut record).expect("written");
            let before: &[List] = known.as_ref().map_or(&[], |known| &known.lists);
            let new = record.lists.iter().filter(|list| !before.contains(list));
            written += new
                .map(|list| storage.len(&dir.join(&list.file)).expect("told").expect("there"))
                .sum::<u64>();
            assert!(record.lists.len() < 12, "{:?}", record.lists);
            if generation % 100 == 1 {
                let (found, gone) = read(&storage, dir, &record.lists).expect("read");
                assert_eq!((&found, &gone), (&record.files, &record.gone));
            }
            let again = &mut record.clone();
            again.generation += 1;
            write(&storage, dir, Some(&record), again).expect("written");
            assert_eq!(again.lists, record.lists, "nothing has changed");
            known = Some(record);
        }
        // Without lists of changes it would be a line for each file every time.
        let bytes = written / rounds;
        assert!(bytes < 5_000, "{bytes} bytes each time");
        let mut lists = known.expect("a record").lists;
        lists[0].crc32 ^= 1;
        let error = read(&storage, dir, &lists).expect_err("damaged");
        assert_eq!(error.file(), Some(&*dir.join(&lists[0].file)));
    }
}
