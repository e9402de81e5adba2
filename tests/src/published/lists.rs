//! The data files of a publication, by the lists that its record names.

use std::collections::BTreeMap;
use std::path::Path;

use kodiak::core::storage::Storage;
use serde_json::{Value, json};

use super::{bytes, number, text};

/// Every data file of a record as an object, in the order of their runs: what its line says, and how its columns lie in it.
///
/// # Errors
/// What is missing, damaged, or not what the record says of it.
pub fn files(storage: &dyn Storage, dir: &Path, record: &Value) -> Result<Vec<Value>, String> {
    let mut files: BTreeMap<u64, Option<Value>> = BTreeMap::new();
    let mut before = u64::MAX;
    for list in record["lists"].as_array().ok_or("it names no lists")? {
        let name = text(&list["file"])?;
        let wrong = |what: &str| format!("{name}: {what}");
        let found = bytes(storage, &dir.join(name))?.ok_or_else(|| wrong("it is missing"))?;
        if u64::from(crc32fast::hash(&found)) != number(&list["crc32"])? {
            return Err(wrong("it is damaged"));
        }
        let found = String::from_utf8(found).map_err(|error| wrong(&error.to_string()))?;
        let mut lines = found.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let columns = lines.next().ok_or_else(|| wrong("it is empty"))?;
        let mut count = 0;
        for line in lines {
            if line.len() != columns.len() {
                return Err(wrong("a line has other columns"));
            }
            let fields: BTreeMap<&str, &str> = columns.iter().copied().zip(line).collect();
            let run = fields["run"].parse().map_err(|_| wrong("a run without a number"))?;
            files.insert(run, file(&fields, &record["layouts"]));
            count += 1;
        }
        if count != number(&list["lines"])? || count > before {
            return Err(wrong(&format!("{count} lines, after {before}")));
        }
        before = count;
    }
    Ok(files.into_values().flatten().collect())
}

/// The file of a line; `None` if it is gone.
fn file(fields: &BTreeMap<&str, &str>, layouts: &Value) -> Option<Value> {
    if fields["file"].is_empty() {
        return None;
    }
    let number = |name: &str| fields[name].parse::<u64>().ok();
    let mut file =
        json!({"file": fields["file"], "kind": fields["kind"], "bytes": number("bytes"), "rows": number("rows")});
    if !fields["dead"].is_empty() {
        file["dead"] = fields["dead"].into();
        file["dead_rows"] = number("dead_rows").into();
    }
    for (name, told) in layouts[fields["schema"]].as_object().into_iter().flatten() {
        file[name] = told.clone();
    }
    Some(file)
}
