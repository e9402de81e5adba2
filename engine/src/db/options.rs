//! Options of one table, kept in the manifest.

use std::time::Duration;

use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, ErrorKind, Result};

const VERSION: u8 = 1;

/// Options of a table, given when it is created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// How long entries live, microseconds; 0 for ever.
    pub(crate) ttl_micros: u64,
    /// The name of its merge operator.
    pub(crate) merge_operator: Option<String>,
}

impl TableOptions {
    /// No TTL, no merge operator.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries vanish when they are this old: never earlier, and later by at most a thousandth of the TTL (or a millisecond).
    /// The age is measured by the storage's clock; setting that clock back keeps entries longer.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_micros = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        self
    }

    /// The table takes merge operands for the operator of this name.
    pub fn merge_operator(mut self, name: impl Into<String>) -> Self {
        self.merge_operator = Some(name.into());
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

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_u64(&mut out, self.ttl_micros);
        put_bytes(&mut out, self.merge_operator.as_deref().unwrap_or_default().as_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => {}
            newer => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("table options of version {newer}; this version of Kodiak reads up to {VERSION}"),
                ));
            }
        }
        let ttl_micros = reader.u64()?;
        let name = reader.str()?;
        Ok(Self {
            ttl_micros,
            merge_operator: (!name.is_empty()).then(|| name.to_owned()),
        })
    }
}
