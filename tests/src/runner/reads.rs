//! Reads, compared with the model.

use std::ops::Bound;
use std::sync::Arc;

use kodiak::{ScanOptions, Snapshot, Table, TableSchema};

use super::shapes::read_bytes;
use super::{Outcome, Runner, failed};
use crate::history::{Key, ScanOp};
use crate::model::{Content, Model, TABLES};

impl Runner<'_> {
    /// What a read should see, if there is such a table and snapshot.
    pub(super) fn content(&self, table: usize, at: Option<usize>) -> Option<(&Content, Option<&Snapshot>)> {
        match at {
            None => Some((self.model.tables[table].as_ref()?, None)),
            Some(slot) => {
                let (snapshot, model) = self.snapshots[slot].as_ref()?;
                Some((model.tables[table].as_ref()?, Some(snapshot)))
            }
        }
    }

    pub(super) fn get(&self, place: usize, at: Option<usize>, key: &Key) -> Outcome {
        self.get_bytes(place, at, &TABLES[place].1.key(key))
    }

    pub(super) fn get_bytes(&self, place: usize, at: Option<usize>, key: &[u8]) -> Outcome {
        let (Some(table), Some((content, snapshot))) = (&self.tables[place], self.content(place, at)) else {
            return Ok(());
        };
        let found = match snapshot {
            Some(snapshot) => table.get_at(snapshot, key),
            None => table.get(key),
        };
        let schema = read_schema(table, snapshot);
        let found = found.map_err(failed("get"))?;
        let found = found
            .map(|found| read_bytes(TABLES[place].1, &schema, &found))
            .transpose()?;
        same_value(content, key, found.as_deref())
    }

    pub(super) fn multi_get(&self, place: usize, keys: &[Key]) -> Outcome {
        let (Some(table), Some((content, _))) = (&self.tables[place], self.content(place, None)) else {
            return Ok(());
        };
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| TABLES[place].1.key(key)).collect();
        let found = table.multi_get(&keys).map_err(failed("multi_get"))?;
        if found.len() != keys.len() {
            return Err(format!("{} answers for {} keys", found.len(), keys.len()));
        }
        keys.iter().zip(found).try_for_each(|(key, found)| {
            let found = found
                .map(|found| read_bytes(TABLES[place].1, &table.schema(), &found))
                .transpose()?;
            same_value(content, key, found.as_deref())
        })
    }

    pub(super) fn scan(&self, scan: &ScanOp) -> Outcome {
        let (Some(table), Some((content, snapshot))) = (&self.tables[scan.table], self.content(scan.table, scan.at))
        else {
            return Ok(());
        };
        let scan = &TABLES[scan.table].1.scan(scan);
        let mut options = match &scan.prefix {
            Some(Key(prefix)) => ScanOptions::prefix(prefix),
            None => ScanOptions::new((bytes(&scan.start), bytes(&scan.end))),
        };
        if scan.reverse {
            options = options.rev();
        }
        if let Some(snapshot) = snapshot {
            options = options.at(snapshot);
        }
        if !scan.fill_cache {
            options = options.without_cache();
        }
        let mut cursor = table.scan_with(options).map_err(failed("scan"))?;
        let mut found: Vec<(Vec<u8>, Arc<[u8]>)> = Vec::new();
        let mut seek = scan.seek.as_ref().filter(|(after, _)| *after <= scan.limit);
        loop {
            if let Some((after, Key(key))) = seek
                && found.len() == *after
            {
                cursor.seek(key).map_err(failed("seek"))?;
                seek = None;
            }
            if found.len() >= scan.limit {
                break;
            }
            let entry = if scan.borrowed {
                let entry = cursor.next_ref().map_err(failed("next_ref"))?;
                entry.map(|(key, value)| (key.to_vec(), Arc::from(value)))
            } else {
                let entry = cursor.next().transpose().map_err(failed("next"))?;
                entry.map(|(key, value)| (key.to_vec(), Arc::from(&*value)))
            };
            match (entry, seek) {
                (Some(entry), _) => found.push(entry),
                // A seek still to come is carried out at the end, too.
                (None, Some((_, Key(key)))) => {
                    cursor.seek(key).map_err(failed("seek"))?;
                    seek = None;
                }
                (None, None) => break,
            }
        }
        let schema = read_schema(table, snapshot);
        for (_, value) in &mut found {
            *value = read_bytes(TABLES[scan.table].1, &schema, value)?.into();
        }
        let expected = Model::scan(content, scan);
        if found == expected {
            return Ok(());
        }
        let at = found
            .iter()
            .zip(&expected)
            .take_while(|(found, expected)| found == expected)
            .count();
        let shown = |entry: Option<&(Vec<u8>, Arc<[u8]>)>| match entry {
            Some((key, value)) => format!("{} = {} bytes", key[..key.len().min(40)].escape_ascii(), value.len()),
            None => "the end".to_owned(),
        };
        Err(format!(
            "entry {at} should be {} but is {} ({} expected, {} found)",
            shown(expected.get(at)),
            shown(found.get(at)),
            expected.len(),
            found.len()
        ))
    }
}

/// The schema that a read reads by.
pub(super) fn read_schema(table: &Table, snapshot: Option<&Snapshot>) -> Arc<TableSchema> {
    match snapshot {
        Some(snapshot) => table.schema_at(snapshot),
        None => table.schema(),
    }
}

fn bytes(bound: &Bound<Key>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(Key(key)) => Bound::Included(key),
        Bound::Excluded(Key(key)) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

fn same_value(content: &Content, key: &[u8], found: Option<&[u8]>) -> Outcome {
    let expected = content.get(key).map(|value| &**value);
    if expected == found {
        return Ok(());
    }
    let shown = |value: Option<&[u8]>| match value {
        Some(value) => format!("{} bytes {}", value.len(), value[..value.len().min(24)].escape_ascii()),
        None => "no value".to_owned(),
    };
    let key = key[..key.len().min(40)].escape_ascii();
    Err(format!(
        "key {key} should have {} but has {}",
        shown(expected),
        shown(found)
    ))
}
