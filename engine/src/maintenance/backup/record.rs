//! The file that says what a backup consists of.

use kodiak_core::varint::{put_bytes, put_u64};
use kodiak_core::{Error, Result};

use super::super::sealed;
use super::{BackupId, BackupInfo};
use crate::manifest::{State, VersionEdit};

const MAGIC: &[u8; 8] = b"KODIAKBK";
const VERSION: u32 = 1;

/// A file of a run in the directory of backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredFile {
    /// Its name there.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// CRC32 of all of it.
    pub crc: u32,
}

impl StoredFile {
    /// Fails if length or checksum of what was read differ.
    pub fn compare(&self, (bytes, crc): (u64, u32)) -> Result<()> {
        if bytes != self.bytes {
            return Err(Error::corruption(format!(
                "the file has {bytes} bytes, not {}",
                self.bytes
            )));
        }
        if crc != self.crc {
            return Err(Error::corruption("the checksum of the file differs"));
        }
        Ok(())
    }
}

/// What a backup consists of. The bytes are in `docs/formats/backup.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub id: BackupId,
    /// When it was made, microseconds since 1970.
    pub micros: u64,
    /// Bytes that were copied for it.
    pub copied: u64,
    /// The settings of the database, TOML.
    pub settings: String,
    /// What its manifest said, without a log.
    pub state: State,
    /// The files of its runs.
    pub files: Vec<StoredFile>,
}

impl Record {
    pub fn info(&self) -> BackupInfo {
        BackupInfo {
            id: self.id,
            micros: self.micros,
            last_seq: self.state.last_seq,
            tables: self.state.tables.len() as u64,
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            copied: self.copied,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = sealed::begin(MAGIC, VERSION);
        for number in [self.id, self.micros, self.copied] {
            put_u64(&mut out, number);
        }
        put_bytes(&mut out, self.settings.as_bytes());
        let mut edit = Vec::new();
        self.state.snapshot().encode(&mut edit);
        put_bytes(&mut out, &edit);
        put_u64(&mut out, self.files.len() as u64);
        for file in &self.files {
            put_bytes(&mut out, file.name.as_bytes());
            put_u64(&mut out, file.bytes);
            out.extend_from_slice(&file.crc.to_le_bytes());
        }
        sealed::seal(out)
    }

    /// # Errors
    /// `Corruption`; `Unsupported` for a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (_, mut reader) = sealed::open(bytes, MAGIC, VERSION)?;
        let (id, micros, copied) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let settings = reader.str()?.to_owned();
        let mut state = State::default();
        state.apply(&VersionEdit::decode(reader.bytes()?)?)?;
        let count = reader.len(reader.remaining() / 6)?;
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let file = StoredFile {
                name: reader.str()?.to_owned(),
                bytes: reader.u64()?,
                crc: reader.u32_le()?,
            };
            // Names become paths: they stay within their directory whatever the file says.
            if file.name.is_empty()
                || !file
                    .name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            {
                return Err(sealed::damaged());
            }
            files.push(file);
        }
        if !reader.is_empty() {
            return Err(sealed::damaged());
        }
        Ok(Self {
            id,
            micros,
            copied,
            settings,
            state,
            files,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kodiak_core::ErrorKind;

    fn record() -> Record {
        Record {
            id: 3,
            micros: 1000,
            copied: 20,
            settings: "a".to_owned(),
            state: State::new(5),
            files: vec![StoredFile {
                name: "1.meta".to_owned(),
                bytes: 20,
                crc: 0x0403_0201,
            }],
        }
    }

    #[test]
    fn what_is_written_comes_back_and_every_damage_is_seen() {
        let bytes = record().encode();
        assert_eq!(Record::decode(&bytes).expect("whole"), record());
        for cut in 0..bytes.len() {
            assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        for name in ["../x", "a/b", "", "a\0"] {
            let mut record = record();
            record.files[0].name = name.to_owned();
            assert_eq!(
                Record::decode(&record.encode()).expect_err("outside").kind(),
                ErrorKind::Corruption,
                "{name:?}"
            );
        }
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let hex: String = record().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(hex.starts_with("4b4f4449414b424b0100000003e807140161"), "{hex}");
        let files = "0106312e6d6574611401020304";
        assert_eq!(hex[hex.len() - 8 - files.len()..hex.len() - 8], *files);
    }
}
