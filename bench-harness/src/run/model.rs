//! What a table must hold, kept as the number of times that each entry was written.

use kodiak::{Error, Result, Table};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::data::Dataset;

/// The expected contents of a table that was filled from a dataset.
pub(super) struct Model<'d> {
    data: &'d dyn Dataset,
    versions: Vec<u32>,
    expected: Vec<u8>,
}

impl<'d> Model<'d> {
    pub fn new(data: &'d dyn Dataset) -> Self {
        Self {
            data,
            versions: Vec::new(),
            expected: Vec::new(),
        }
    }

    pub fn data(&self) -> &'d dyn Dataset {
        self.data
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.versions.len() as u64
    }

    /// Entry [`len`](Self::len) is inserted.
    pub fn inserted(&mut self) {
        self.versions.push(0);
    }

    /// The version that overwriting the entry makes.
    pub fn next_version(&self, index: u64) -> u32 {
        self.versions[index as usize] + 1
    }

    /// Entry `index` was overwritten.
    pub fn overwritten(&mut self, index: u64) {
        self.versions[index as usize] += 1;
    }

    /// Checks the value that was read for entry `index`.
    pub fn check(&mut self, index: u64, key: &[u8], found: Option<&[u8]>) -> Result<()> {
        self.expected.clear();
        self.data
            .value(index, self.versions[index as usize], &mut self.expected);
        if found == Some(&self.expected) {
            return Ok(());
        }
        let found = found.map_or("nothing".to_owned(), |value| format!("\"{}\"", value.escape_ascii()));
        Err(Error::corruption(format!(
            "wrong answer: key \"{}\" has the value \"{}\", but {found} was read",
            key.escape_ascii(),
            self.expected.escape_ascii()
        )))
    }

    /// Bytes of all keys and values.
    pub fn live_bytes(&self) -> u64 {
        let (mut bytes, mut both) = (0, Vec::new());
        for (index, &version) in self.versions.iter().enumerate() {
            both.clear();
            self.data.key(index as u64, &mut both);
            self.data.value(index as u64, version, &mut both);
            bytes += both.len() as u64;
        }
        bytes
    }

    /// Checks that `table` holds exactly these entries, in key order, and returns a digest of them.
    pub fn check_contents(&self, table: &Table) -> Result<String> {
        let mut expected = 0_u64;
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for (index, &version) in self.versions.iter().enumerate() {
            key.clear();
            value.clear();
            self.data.key(index as u64, &mut key);
            self.data.value(index as u64, version, &mut value);
            expected = expected.wrapping_add(entry_digest(&key, &value));
        }
        let (mut found, mut entries) = (0_u64, 0_u64);
        let mut scan = table.scan(..)?;
        let mut last: Option<Vec<u8>> = None;
        while let Some((key, value)) = scan.next_ref()? {
            if let Some(last) = &mut last {
                if last.as_slice() >= key {
                    let (last, key) = (last.escape_ascii(), key.escape_ascii());
                    return Err(Error::corruption(format!(
                        "wrong order: a scan gave \"{last}\" before \"{key}\""
                    )));
                }
                last.clear();
                last.extend_from_slice(key);
            } else {
                last = Some(key.to_vec());
            }
            found = found.wrapping_add(entry_digest(key, value));
            entries += 1;
        }
        if (entries, found) != (self.len(), expected) {
            return Err(Error::corruption(format!(
                "wrong contents: a scan gave {entries} entries (digest {found:016x}) where there are {} ({expected:016x})",
                self.len()
            )));
        }
        Ok(format!("{found:016x}"))
    }
}

fn entry_digest(key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64(key))
}
