//! The two slots at the start of a file, one of which names the newest account.
//!
//! A slot fits a sector of 512 bytes, which disks write as a whole; so a slot that does not check is damaged, and not merely
//! half written, and is never passed over in silence.

use kodiak_core::index::MAX_OWNER;
use kodiak_core::varint::{Reader, put_bytes};
use kodiak_core::{Error, ErrorKind, Result};

use super::piece::{PAGE, Ptr};

/// Bytes of a slot.
pub(crate) const SLOT: usize = 512;
const MAGIC: [u8; 8] = *b"KODIAKIX";
/// The version of files that this code writes, and the newest that it reads.
const VERSION: u32 = 2;
/// That of files whose commits are all synced before their slots are written.
const WITHOUT_STATE: u32 = 1;

/// The longest name of a kind or operator: a slot has room for both and an owner.
const MAX_NAME: usize = 64;

/// What a file is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// The kind of index.
    pub kind: String,
    /// The name of the upsert operator; empty for none.
    pub upsert: String,
    /// What the index is part of; empty if that is not said.
    pub owner: Vec<u8>,
}

impl Names {
    /// # Errors
    /// `InvalidInput` if a slot has no room for them.
    pub(crate) fn check(&self) -> Result<()> {
        for (what, len, limit) in [
            ("name of the index", self.kind.len(), MAX_NAME),
            ("name of the upsert operator", self.upsert.len(), MAX_NAME),
            ("owner of the index", self.owner.len(), MAX_OWNER),
        ] {
            if len > limit {
                let message = format!("the {what} has {len} bytes, more than {limit}: make it shorter");
                return Err(Error::invalid_input(message));
            }
        }
        Ok(())
    }

    /// # Errors
    /// `Corruption` if the file says that it is of another owner than one who says so, too.
    pub(crate) fn check_owner(&self, given: &[u8]) -> Result<()> {
        if self.owner.is_empty() || given.is_empty() || self.owner == given {
            return Ok(());
        }
        let (owner, given) = (self.owner.escape_ascii(), given.escape_ascii());
        Err(Error::corruption(format!(
            "the file belongs to \"{owner}\", not to \"{given}\": restore the right one in its place, or build the index anew"
        )))
    }

    /// Adds what the file does not say, but who opens it does.
    ///
    /// # Errors
    /// `Corruption` if the file is of another owner; `InvalidSettings` if another kind of index or operator made it; `InvalidInput` for
    /// names that are too long.
    pub(crate) fn meet(&mut self, given: Self) -> Result<()> {
        given.check()?;
        self.check_owner(&given.owner)?;
        let other = |what: &str, found: &str, wanted: &str| {
            let message =
                format!("the file was made with the {what} \"{found}\", not \"{wanted}\": open it with that one");
            Err(Error::new(ErrorKind::InvalidSettings, message))
        };
        if self.kind != given.kind {
            return other("index", &self.kind, &given.kind);
        }
        if !self.upsert.is_empty() && self.upsert != given.upsert {
            return other("upsert operator", &self.upsert, &given.upsert);
        }
        self.upsert = given.upsert;
        if self.owner.is_empty() {
            self.owner = given.owner;
        }
        Ok(())
    }
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The commit that wrote it. Its slot is number `generation % 2`.
    pub generation: u64,
    /// What the file is of.
    pub names: Names,
    /// The account of space of that commit.
    pub account: Ptr,
    /// Everything that the commit wrote is known to be on the disk. Else it may have got there after the slot, or not at all, and
    /// the account says how to tell.
    pub synced: bool,
}

impl Slot {
    pub(crate) fn encode(&self) -> [u8; SLOT] {
        let mut bytes = Vec::with_capacity(SLOT);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(PAGE as u32).to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        self.account.encode(&mut bytes);
        bytes.push(u8::from(self.synced));
        put_bytes(&mut bytes, self.names.kind.as_bytes());
        put_bytes(&mut bytes, self.names.upsert.as_bytes());
        // Where none is said there is a zero, as older versions, which know of no owner, write and pass over.
        put_bytes(&mut bytes, &self.names.owner);
        bytes.resize(SLOT - 4, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut slot = [0; SLOT];
        slot.copy_from_slice(&bytes);
        slot
    }

    /// # Errors
    /// `Corruption`; `Unsupported` for a newer version. Neither names file and offset.
    pub(crate) fn decode(bytes: &[u8; SLOT]) -> Result<Self> {
        let (body, crc) = bytes.split_at(SLOT - 4);
        let mut reader = Reader::new(body);
        if reader.take(8)? != MAGIC {
            return Err(Error::corruption("this is not an index file, or its start is damaged"));
        }
        let version = reader.u32_le()?;
        if crc32fast::hash(body).to_le_bytes() != *crc {
            return Err(Error::corruption(
                "the checksum of a root slot differs: restore a copy, or build the index anew",
            ));
        }
        if version != VERSION && version != WITHOUT_STATE {
            let message = format!("the file has version {version}, this program knows {VERSION}: use another one");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let page = reader.u32_le()?;
        if u64::from(page) != PAGE {
            let message = format!("the file has pages of {page} bytes, this program only knows {PAGE}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let (generation, account) = (reader.u64_le()?, Ptr::decode(&mut reader)?);
        let synced = match if version == WITHOUT_STATE { 1 } else { reader.u8()? } {
            flag @ 0..=1 => flag == 1,
            other => {
                return Err(Error::corruption(format!(
                    "a root slot is malformed: {other} is no flag"
                )));
            }
        };
        Ok(Self {
            generation,
            account,
            synced,
            names: Names {
                kind: reader.str()?.to_owned(),
                upsert: reader.str()?.to_owned(),
                owner: reader.bytes()?.to_vec(),
            },
        })
    }
}
