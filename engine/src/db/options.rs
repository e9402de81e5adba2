//! Options of one table, kept in the manifest.

use std::time::Duration;

use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, ErrorKind, Result};

use super::index_options::IndexOptions;

/// Of a table that chooses nothing of its indexes.
const VERSION: u8 = 1;
/// Of one that does: what it chooses follows.
const INDEXES: u8 = 2;

/// Options of a table, given when it is created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// How long entries live, microseconds; 0 for ever.
    pub(crate) ttl_micros: u64,
    /// The name of its merge operator.
    pub(crate) merge_operator: Option<String>,
    /// What of its indexes it chooses for itself.
    pub(crate) indexes: IndexOptions,
}

impl TableOptions {
    /// No TTL, no merge operator, indexes as the settings of the database say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries vanish when they are this old: never earlier, and later by at most a thousandth of the TTL (or a millisecond).
    /// The age is measured by the storage's clock; setting that clock back keeps entries longer. Less than a microsecond is no TTL.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_micros = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        self
    }

    /// The table takes merge operands for the operator of this name.
    pub fn merge_operator(mut self, name: impl Into<String>) -> Self {
        self.merge_operator = Some(name.into());
        self
    }

    /// How its indexes are made and kept, where that is not as the settings of the database say.
    pub fn indexes(mut self, indexes: IndexOptions) -> Self {
        self.indexes = indexes;
        self
    }

    /// The TTL, if there is one.
    pub fn get_ttl(&self) -> Option<Duration> {
        (self.ttl_micros > 0).then(|| Duration::from_micros(self.ttl_micros))
    }

    /// The name of the merge operator, if there is one.
    pub fn get_merge_operator(&self) -> Option<&str> {
        self.merge_operator.as_deref()
    }

    /// What of its indexes it chooses for itself.
    pub fn get_indexes(&self) -> &IndexOptions {
        &self.indexes
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let own = self.indexes != IndexOptions::new();
        let mut out = vec![if own { INDEXES } else { VERSION }];
        put_u64(&mut out, self.ttl_micros);
        put_bytes(&mut out, self.merge_operator.as_deref().unwrap_or_default().as_bytes());
        if own {
            self.indexes.encode(&mut out);
        }
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if !(VERSION..=INDEXES).contains(&version) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("table options of version {version}; this version of Kodiak reads up to {INDEXES}"),
            ));
        }
        let ttl_micros = reader.u64()?;
        let name = reader.str()?;
        Ok(Self {
            ttl_micros,
            merge_operator: (!name.is_empty()).then(|| name.to_owned()),
            indexes: match version {
                INDEXES => IndexOptions::decode(&mut reader)?,
                _ => IndexOptions::new(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Maintenance;

    #[test]
    fn the_bytes_of_options_are_those_of_the_documentation() {
        let plain = TableOptions::new()
            .ttl(Duration::from_micros(300))
            .merge_operator("add");
        let chosen = IndexOptions::new().primary("bplus").deletion_vectors(true);
        let chosen = plain.clone().indexes(chosen.maintenance(Maintenance::Eager));
        assert_eq!(plain.to_bytes(), b"\x01\xac\x02\x03add");
        assert_eq!(chosen.to_bytes(), b"\x02\xac\x02\x03add\x05bplus\x02\x00\x02");
        for options in [plain, chosen.clone()] {
            assert_eq!(
                TableOptions::from_bytes(&options.to_bytes()).expect("what was written"),
                options
            );
        }
        let bytes = chosen.to_bytes();
        for cut in 0..bytes.len() {
            TableOptions::from_bytes(&bytes[..cut]).expect_err("cut short");
        }
        for (at, value) in [(13, 3), (15, 3)] {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            assert_eq!(
                TableOptions::from_bytes(&wrong).expect_err("no such choice").kind(),
                ErrorKind::Corruption
            );
        }
        let newer = TableOptions::from_bytes(&[3, 0, 0]).expect_err("newer");
        assert_eq!(newer.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn deletion_vectors_of_its_own_need_a_primary_index_of_its_own() {
        let check = |options: IndexOptions| options.check();
        check(IndexOptions::new().primary("bplus").deletion_vectors(true)).expect("both");
        check(IndexOptions::new().deletion_vectors(false)).expect("none");
        for options in [IndexOptions::new(), IndexOptions::new().primary("fence")] {
            let error = check(options.deletion_vectors(true)).expect_err("no index");
            assert_eq!(error.setting(), Some("index.deletion_vectors"));
        }
    }
}
