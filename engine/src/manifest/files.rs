//! The bytes of the manifest's three files, outside the edits.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::storage::{LogFile, Storage};
use kodiak_core::{Error, ErrorKind, Result};

use super::edit::VersionEdit;

/// The file that names the manifest in force.
pub const CURRENT: &str = "CURRENT";
/// The file that says how long the manifest is.
pub const TAIL: &str = "MANIFEST-TAIL";
/// What becomes `CURRENT` by renaming.
pub(super) const CURRENT_NEW: &str = "CURRENT.new";

/// Version of the manifest's files.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"KODIAKMF";
const TAIL_MAGIC: &[u8; 8] = b"KODIAKMT";

/// Length of the header of a manifest file.
pub(super) const HEADER_BYTES: usize = 64;
/// Length of the header of a record: length, CRC, sequence.
pub(super) const RECORD_HEADER: usize = 16;
/// Longest record that is read.
const MAX_RECORD: usize = 1 << 30;

const TAIL_SLOT: usize = 4096;
const TAIL_BYTES: usize = 2 * TAIL_SLOT;
const TAIL_MARK_BYTES: usize = 48;

/// The name of manifest file `number`.
pub fn file_name(number: u64) -> String {
    format!("MANIFEST-{number:06}")
}

/// The number of a manifest file, or `None` for the name of another file.
pub fn parse_file_name(name: &str) -> Option<u64> {
    let number = name.strip_prefix("MANIFEST-")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Reads a whole file, however it was written.
pub(super) fn read_all(storage: &dyn Storage, path: &Path) -> Result<Vec<u8>> {
    let file = storage.open(path)?;
    let len = usize::try_from(file.len()).ok().filter(|len| *len <= MAX_RECORD);
    let len = len.ok_or_else(|| Error::corruption("the file is too large to be a manifest").with_file(path))?;
    Ok(file.read(0, len)?.to_vec())
}

fn unsupported(what: &str, version: u32) -> Error {
    let message =
        format!("{what} has version {version}, this Kodiak reads up to {VERSION}: use the version that wrote it");
    Error::new(ErrorKind::Unsupported, message)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The first bytes of a manifest file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub number: u64,
    pub identity: u64,
    pub file_bytes: u64,
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.identity.to_le_bytes());
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        out.resize(HEADER_BYTES - 4, 0);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = |what: &str| Error::corruption(what).with_offset(0);
        let header = bytes
            .get(..HEADER_BYTES)
            .ok_or_else(|| corrupt("it ends within its header"))?;
        if !header.starts_with(MAGIC) {
            return Err(corrupt("it does not begin as a manifest does"));
        }
        if crc32fast::hash(&header[..HEADER_BYTES - 4]) != u32_at(header, HEADER_BYTES - 4) {
            return Err(corrupt("the checksum of its header differs"));
        }
        let version = u32_at(header, 8);
        if version > VERSION {
            return Err(unsupported("the manifest", version));
        }
        Ok(Self {
            number: u64_at(header, 16),
            identity: u64_at(header, 24),
            file_bytes: u64_at(header, 32),
        })
    }
}

/// The CRC of a record. Identity and number are not stored in it: bytes of other files so do not pass.
fn record_crc(identity: u64, number: u64, len: u32, sequence: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&identity.to_le_bytes());
    crc.update(&number.to_le_bytes());
    crc.update(&len.to_le_bytes());
    crc.update(&sequence.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// The bytes of one record.
pub(super) fn record(identity: u64, number: u64, sequence: u64, edit: &VersionEdit) -> Result<Vec<u8>> {
    let mut out = vec![0; RECORD_HEADER];
    edit.encode(&mut out);
    let payload = out.len() - RECORD_HEADER;
    let len = u32::try_from(payload).ok().filter(|_| payload <= MAX_RECORD);
    let len = len.ok_or_else(|| Error::invalid_input(format!("a version edit of {payload} bytes is too large")))?;
    let crc = record_crc(identity, number, len, sequence, &out[RECORD_HEADER..]);
    out[..4].copy_from_slice(&len.to_le_bytes());
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out[8..16].copy_from_slice(&sequence.to_le_bytes());
    Ok(out)
}

/// The payload of the record at `at`; `None` at the end, where all is zero.
pub(super) fn next_record<'b>(bytes: &'b [u8], at: usize, header: &Header, sequence: u64) -> Result<Option<&'b [u8]>> {
    let rest = &bytes[at..];
    let Some(head) = rest.get(..RECORD_HEADER) else {
        return Err(Error::corruption("it ends within the header of a record"));
    };
    if head == [0; RECORD_HEADER] {
        return Ok(None);
    }
    let len = u32_at(head, 0);
    let payload = rest
        .get(RECORD_HEADER..)
        .and_then(|rest| rest.get(..len as usize))
        .ok_or_else(|| Error::corruption(format!("a record of {len} bytes reaches beyond the end of the file")))?;
    if record_crc(header.identity, header.number, len, u64_at(head, 8), payload) != u32_at(head, 4) {
        return Err(Error::corruption("the checksum of a record differs"));
    }
    if u64_at(head, 8) != sequence {
        return Err(Error::corruption(format!(
            "record {sequence} is missing: record {} is in its place",
            u64_at(head, 8)
        )));
    }
    Ok(Some(payload))
}

/// The contents of `CURRENT`: one line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Current {
    pub number: u64,
    pub identity: u64,
}

impl Current {
    pub fn encode(&self) -> String {
        let line = format!("kodiak {VERSION} {} {:016x}", file_name(self.number), self.identity);
        format!("{line} {:08x}\n", crc32fast::hash(line.as_bytes()))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = || Error::corruption("it is not what was written: its checksum or form differs").with_offset(0);
        let text = std::str::from_utf8(bytes).map_err(|_| corrupt())?;
        let (line, crc) = text
            .strip_suffix('\n')
            .and_then(|line| line.rsplit_once(' '))
            .ok_or_else(corrupt)?;
        if format!("{:08x}", crc32fast::hash(line.as_bytes())) != crc {
            return Err(corrupt());
        }
        let words: Vec<_> = line.split(' ').collect();
        let version = words.get(1).and_then(|word| word.parse().ok()).ok_or_else(corrupt)?;
        if version > VERSION {
            return Err(unsupported("CURRENT", version));
        }
        let ["kodiak", _, name, identity] = words.as_slice() else {
            return Err(corrupt());
        };
        let number = parse_file_name(name).ok_or_else(corrupt)?;
        let identity = u64::from_str_radix(identity, 16).map_err(|_| corrupt())?;
        Ok(Self { number, identity })
    }

    pub fn read(storage: &dyn Storage, path: &Path) -> Result<Self> {
        Self::decode(&read_all(storage, path)?).map_err(|error| error.with_file(path))
    }
}

/// Makes `CURRENT` say `current`.
pub(super) fn switch_current(storage: &dyn Storage, dir: &Path, current: &Current) -> Result<()> {
    let new = dir.join(CURRENT_NEW);
    let mut file = storage.create(&new)?;
    file.write_all(current.encode().as_bytes())
        .map_err(|source| Error::io("write", &new, source))?;
    file.finish(true)?;
    storage.rename(&new, &dir.join(CURRENT))?;
    storage.sync_dir(dir)
}

/// What was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TailMark {
    pub identity: u64,
    pub number: u64,
    pub length: u64,
    pub records: u64,
}

impl TailMark {
    pub fn encode(&self) -> [u8; TAIL_MARK_BYTES] {
        let mut out = [0; TAIL_MARK_BYTES];
        out[..8].copy_from_slice(TAIL_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&self.identity.to_le_bytes());
        out[20..28].copy_from_slice(&self.number.to_le_bytes());
        out[28..36].copy_from_slice(&self.length.to_le_bytes());
        out[36..44].copy_from_slice(&self.records.to_le_bytes());
        let crc = crc32fast::hash(&out[..44]);
        out[44..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        if !bytes.starts_with(TAIL_MAGIC) || crc32fast::hash(&bytes[..44]) != u32_at(bytes, 44) {
            return Ok(None);
        }
        let version = u32_at(bytes, 8);
        if version > VERSION {
            return Err(unsupported("MANIFEST-TAIL", version));
        }
        let mark = Self {
            identity: u64_at(bytes, 12),
            number: u64_at(bytes, 20),
            length: u64_at(bytes, 28),
            records: u64_at(bytes, 36),
        };
        Ok(Some(mark))
    }
}

/// `MANIFEST-TAIL`: two slots on different disk blocks, written by turns, so that a torn write spares the other one.
#[derive(Debug)]
pub(super) struct Tail {
    file: Arc<dyn LogFile>,
    next_slot: usize,
}

impl Tail {
    pub fn create(storage: &dyn Storage, path: &Path) -> Result<Self> {
        let file = storage.create_log(path, TAIL_BYTES as u64)?;
        file.sync_data()?;
        Ok(Self { file, next_slot: 0 })
    }

    pub fn open(storage: &dyn Storage, path: &Path) -> Result<Self> {
        let slots = Self::slots(storage, path)?;
        let newest = newest(&slots);
        let next_slot = usize::from(newest.is_some() && slots[0] == newest);
        Ok(Self {
            file: storage.open_log(path)?,
            next_slot,
        })
    }

    /// The newest mark; `None` if none was ever written.
    pub fn read(storage: &dyn Storage, path: &Path) -> Result<Option<TailMark>> {
        let newest = newest(&Self::slots(storage, path)?);
        if newest.is_none() && !Self::is_fresh(storage, path)? {
            return Err(Error::corruption("both of its slots are damaged")
                .with_file(path)
                .with_offset(0));
        }
        Ok(newest)
    }

    /// True if nothing was ever written to it (its creation may not even have come to its end).
    pub fn is_fresh(storage: &dyn Storage, path: &Path) -> Result<bool> {
        Ok(read_all(storage, path)?.iter().all(|&byte| byte == 0))
    }

    pub fn write(&mut self, mark: &TailMark) -> Result<()> {
        self.file
            .write_at((self.next_slot * TAIL_SLOT) as u64, &mark.encode())?;
        self.file.sync_data()?;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }

    /// Writes the newest mark once more, where it is.
    pub fn renew(&self) -> Result<()> {
        let at = ((1 - self.next_slot) * TAIL_SLOT) as u64;
        let mut bytes = [0; TAIL_MARK_BYTES];
        self.file.read_at(at, &mut bytes)?;
        self.file.write_at(at, &bytes)?;
        self.file.sync_data()
    }

    /// Takes a new handle after a failure. The next mark goes where the failed one went: the other slot holds one that is
    /// known to be on disk.
    pub fn reopen(&mut self, storage: &dyn Storage, path: &Path) -> Result<()> {
        self.file = storage.open_log(path)?;
        Ok(())
    }

    fn slots(storage: &dyn Storage, path: &Path) -> Result<[Option<TailMark>; 2]> {
        let bytes = read_all(storage, path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let message = "the file is missing: restore it from a backup, or run `kodiak repair`";
                Error::corruption(message).with_file(path).with_source(error)
            }
            _ => error,
        })?;
        if bytes.len() != TAIL_BYTES {
            return Err(Error::corruption(format!("it has {} bytes, not {TAIL_BYTES}", bytes.len())).with_file(path));
        }
        let decode =
            |at: usize| TailMark::decode(&bytes[at..at + TAIL_MARK_BYTES]).map_err(|error| error.with_file(path));
        Ok([decode(0)?, decode(TAIL_SLOT)?])
    }
}

fn newest(slots: &[Option<TailMark>; 2]) -> Option<TailMark> {
    slots
        .iter()
        .flatten()
        .copied()
        .max_by_key(|mark| (mark.number, mark.length))
}
