//! The stored form of version edits: see `docs/formats/manifest.md`.

mod marks;

use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::format::Compression;
use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, ErrorKind, Result};

use super::edit::{CatalogueMeta, Change, IndexMeta, Place, RunMeta, SecondaryMeta, VersionEdit};
use crate::sidecar::times;
use marks::{marks, put_marks};

/// The numbers of changes on disk. A reader that meets a number below `OPTIONAL` that it does not know must refuse the
/// file; others it may pass over.
mod tag {
    pub const IDENTITY: u64 = 1;
    pub const CREATE_TABLE: u64 = 2;
    pub const DROP_TABLE: u64 = 3;
    pub const TABLE_OPTIONS: u64 = 4;
    pub const ADD_RUN: u64 = 5;
    pub const REMOVE_RUN: u64 = 6;
    pub const MOVE_RUN: u64 = 7;
    pub const LAST_SEQ: u64 = 8;
    pub const WAL_FROM: u64 = 9;
    pub const FLUSHED: u64 = 10;
    pub const NEXT_IDS: u64 = 11;
    pub const ADD_SCHEMA: u64 = 12;
    pub const CATALOGUE: u64 = 13;
    pub const ADD_SECONDARY: u64 = 16;
    pub const DROP_SECONDARY: u64 = 17;
    pub const OPTIONAL: u64 = 1 << 20;
    /// Whoever does not know it goes without the index, and names none in the manifest that it writes.
    pub const SET_INDEX: u64 = OPTIONAL + 1;
    /// Whoever does not know it builds the index anew.
    pub const SET_SECONDARY: u64 = OPTIONAL + 16;
    /// Whoever does not know it goes without the vectors, and writes none either.
    pub const MARK_DEAD: u64 = OPTIONAL + 2;
    /// Whoever does not know it takes a log for whole that lacks its last segments.
    pub const LOG_END: u64 = OPTIONAL + 3;
    /// Whoever does not know it reads what it says from the runs, and writes none either.
    pub const ADD_TIMES: u64 = OPTIONAL + 4;
}

/// The version of a catalogue's entries.
const CATALOGUE_VERSION: u64 = 1;

impl VersionEdit {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        for change in &self.changes {
            body.clear();
            put_u64(out, encode_change(change, &mut body));
            put_bytes(out, &body);
        }
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode` does not produce; `Unsupported` for a change that this version does not know and
    /// may not pass over.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let mut edit = Self::new();
        while !reader.is_empty() {
            let tag = reader.u64()?;
            let mut body = Reader::new(reader.bytes()?);
            match decode_change(tag, &mut body)? {
                Some(change) => {
                    if !body.is_empty() {
                        return Err(Error::corruption(format!(
                            "change {tag} has {} bytes too many",
                            body.remaining()
                        )));
                    }
                    edit.changes.push(change);
                }
                None if tag >= tag::OPTIONAL => {}
                None => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("change {tag} is not known to this version of Kodiak: use the version that wrote it"),
                    ));
                }
            }
        }
        Ok(edit)
    }
}

fn encode_change(change: &Change, out: &mut Vec<u8>) -> u64 {
    match change {
        Change::Identity(identity) => {
            out.extend_from_slice(&identity.to_le_bytes());
            tag::IDENTITY
        }
        Change::Catalogue(meta) => {
            put_u64(out, CATALOGUE_VERSION);
            put_u64(out, meta.number);
            put_bytes(out, meta.kind.as_bytes());
            put_u64(out, meta.root);
            tag::CATALOGUE
        }
        Change::CreateTable {
            id,
            name,
            schema,
            options,
        } => {
            put_u64(out, u64::from(*id));
            put_bytes(out, name.as_bytes());
            put_bytes(out, schema);
            put_bytes(out, options);
            tag::CREATE_TABLE
        }
        Change::DropTable(table) => {
            put_u64(out, u64::from(*table));
            tag::DROP_TABLE
        }
        Change::TableOptions { table, options } => {
            put_u64(out, u64::from(*table));
            put_bytes(out, options);
            tag::TABLE_OPTIONS
        }
        Change::AddRun { table, place, run } => {
            put_u64(out, u64::from(*table));
            put_place(out, *place);
            put_run(out, run);
            tag::ADD_RUN
        }
        Change::RemoveRun { table, run } => {
            put_u64(out, u64::from(*table));
            put_u64(out, *run);
            tag::REMOVE_RUN
        }
        Change::MoveRun { table, run, place } => {
            put_u64(out, u64::from(*table));
            put_u64(out, *run);
            put_place(out, *place);
            tag::MOVE_RUN
        }
        Change::LastSeq(seq) => {
            put_u64(out, *seq);
            tag::LAST_SEQ
        }
        Change::WalFrom(segment) => {
            put_u64(out, *segment);
            tag::WAL_FROM
        }
        Change::Flushed { table, segment } => {
            put_u64(out, u64::from(*table));
            put_u64(out, *segment);
            tag::FLUSHED
        }
        Change::AddSchema {
            table,
            number,
            in_force,
            schema,
        } => {
            put_u64(out, u64::from(*table));
            put_u64(out, u64::from(*number));
            out.push(u8::from(*in_force));
            put_bytes(out, schema);
            tag::ADD_SCHEMA
        }
        Change::NextIds { run, table, sorted_run } => {
            put_u64(out, *run);
            put_u64(out, u64::from(*table));
            put_u64(out, *sorted_run);
            tag::NEXT_IDS
        }
        Change::LogEnd(seq) => {
            put_u64(out, *seq);
            tag::LOG_END
        }
        Change::SetIndex { table, index } => {
            put_u64(out, u64::from(*table));
            if let Some(index) = index {
                put_index(out, index);
            }
            tag::SET_INDEX
        }
        Change::AddSecondary {
            table,
            name,
            definition,
        } => {
            put_u64(out, u64::from(*table));
            put_bytes(out, name.as_bytes());
            put_bytes(out, definition);
            tag::ADD_SECONDARY
        }
        Change::DropSecondary { table, name } => {
            put_u64(out, u64::from(*table));
            put_bytes(out, name.as_bytes());
            tag::DROP_SECONDARY
        }
        Change::SetSecondary { table, name, index } => {
            put_u64(out, u64::from(*table));
            put_bytes(out, name.as_bytes());
            if let Some(index) = index {
                put_index(out, &index.file);
                out.push(u8::from(index.exact));
            }
            tag::SET_SECONDARY
        }
        Change::MarkDead { table, dead } => {
            put_u64(out, u64::from(*table));
            if let Some(marks) = dead {
                put_marks(out, marks);
            }
            tag::MARK_DEAD
        }
        Change::AddTimes { table, anew, samples } => {
            put_u64(out, u64::from(*table));
            out.push(u8::from(*anew));
            let mut bytes = Vec::new();
            times::encode(samples, &mut bytes);
            put_bytes(out, &bytes);
            tag::ADD_TIMES
        }
    }
}

fn decode_change(tag: u64, body: &mut Reader<'_>) -> Result<Option<Change>> {
    Ok(Some(match tag {
        tag::IDENTITY => Change::Identity(body.u64_le()?),
        tag::CATALOGUE => Change::Catalogue(catalogue(body)?),
        tag::CREATE_TABLE => Change::CreateTable {
            id: table_id(body)?,
            name: body.str()?.to_owned(),
            schema: body.bytes()?.to_vec(),
            options: body.bytes()?.to_vec(),
        },
        tag::DROP_TABLE => Change::DropTable(table_id(body)?),
        tag::TABLE_OPTIONS => Change::TableOptions {
            table: table_id(body)?,
            options: body.bytes()?.to_vec(),
        },
        tag::ADD_RUN => Change::AddRun {
            table: table_id(body)?,
            place: place(body)?,
            run: Arc::new(run_meta(body)?),
        },
        tag::REMOVE_RUN => Change::RemoveRun {
            table: table_id(body)?,
            run: body.u64()?,
        },
        tag::MOVE_RUN => Change::MoveRun {
            table: table_id(body)?,
            run: body.u64()?,
            place: place(body)?,
        },
        tag::LAST_SEQ => Change::LastSeq(body.u64()?),
        tag::WAL_FROM => Change::WalFrom(body.u64()?),
        tag::FLUSHED => Change::Flushed {
            table: table_id(body)?,
            segment: body.u64()?,
        },
        tag::ADD_SCHEMA => Change::AddSchema {
            table: table_id(body)?,
            number: body.len(u32::MAX as usize)? as u32,
            in_force: boolean(body)?,
            schema: body.bytes()?.to_vec(),
        },
        tag::NEXT_IDS => Change::NextIds {
            run: body.u64()?,
            table: table_id(body)?,
            sorted_run: body.u64()?,
        },
        tag::SET_INDEX => Change::SetIndex {
            table: table_id(body)?,
            index: if body.is_empty() { None } else { Some(index_meta(body)?) },
        },
        tag::ADD_SECONDARY => Change::AddSecondary {
            table: table_id(body)?,
            name: body.str()?.to_owned(),
            definition: body.bytes()?.to_vec(),
        },
        tag::DROP_SECONDARY => Change::DropSecondary {
            table: table_id(body)?,
            name: body.str()?.to_owned(),
        },
        tag::SET_SECONDARY => Change::SetSecondary {
            table: table_id(body)?,
            name: body.str()?.to_owned(),
            index: match body.is_empty() {
                true => None,
                false => Some(SecondaryMeta {
                    file: index_meta(body)?,
                    exact: boolean(body)?,
                }),
            },
        },
        tag::LOG_END => Change::LogEnd(body.u64()?),
        tag::MARK_DEAD => Change::MarkDead {
            table: table_id(body)?,
            dead: if body.is_empty() { None } else { Some(marks(body)?) },
        },
        tag::ADD_TIMES => Change::AddTimes {
            table: table_id(body)?,
            anew: boolean(body)?,
            samples: times::decode(body.bytes()?)?,
        },
        _ => return Ok(None),
    }))
}

fn catalogue(body: &mut Reader<'_>) -> Result<CatalogueMeta> {
    let version = body.u64()?;
    if version != CATALOGUE_VERSION {
        let message = format!(
            "the catalogue has version {version}, this program knows {CATALOGUE_VERSION}: use the one that wrote it"
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(CatalogueMeta {
        number: body.u64()?,
        kind: body.str()?.to_owned(),
        root: body.u64()?,
    })
}

fn boolean(body: &mut Reader<'_>) -> Result<bool> {
    match body.u8()? {
        byte @ 0..=1 => Ok(byte == 1),
        byte => Err(Error::corruption(format!("{byte} is no boolean"))),
    }
}

fn put_index(out: &mut Vec<u8>, index: &IndexMeta) {
    put_u64(out, index.id);
    put_bytes(out, index.kind.as_bytes());
    put_u64(out, index.root);
}

fn index_meta(body: &mut Reader<'_>) -> Result<IndexMeta> {
    Ok(IndexMeta {
        id: body.u64()?,
        kind: body.str()?.to_owned(),
        root: body.u64()?,
    })
}

fn table_id(body: &mut Reader<'_>) -> Result<TableId> {
    Ok(body.len(TableId::MAX as usize)? as TableId)
}

fn put_place(out: &mut Vec<u8>, place: Place) {
    put_u64(out, u64::from(place.level));
    put_u64(out, place.sorted_run);
}

fn place(body: &mut Reader<'_>) -> Result<Place> {
    Ok(Place {
        level: body.len(super::MAX_LEVELS as usize - 1)? as u32,
        sorted_run: body.u64()?,
    })
}

pub(super) fn put_run(out: &mut Vec<u8>, run: &RunMeta) {
    put_u64(out, run.id);
    put_bytes(out, run.format.as_bytes());
    out.push(run.compression as u8);
    put_u64(out, run.data_bytes);
    put_u64(out, run.sidecar_bytes);
    out.extend_from_slice(&run.sidecar_crc.to_le_bytes());
    put_u64(out, run.entries);
    put_u64(out, run.tombstones);
    put_u64(out, run.range_deletes);
    put_u64(out, run.blocks);
    put_bytes(out, &run.min_key);
    put_bytes(out, &run.max_key);
    put_u64(out, run.min_seq);
    put_u64(out, run.max_seq);
    put_u64(out, run.oldest_micros);
    put_u64(out, run.newest_micros);
}

fn run_meta(body: &mut Reader<'_>) -> Result<RunMeta> {
    Ok(RunMeta {
        id: body.u64()?,
        format: body.str()?.to_owned(),
        compression: compression_from_byte(body.u8()?)?,
        data_bytes: body.u64()?,
        sidecar_bytes: body.u64()?,
        sidecar_crc: body.u32_le()?,
        entries: body.u64()?,
        tombstones: body.u64()?,
        range_deletes: body.u64()?,
        blocks: body.u64()?,
        min_key: body.bytes()?.into(),
        max_key: body.bytes()?.into(),
        min_seq: body.u64()?,
        max_seq: body.u64()?,
        oldest_micros: body.u64()?,
        newest_micros: body.u64()?,
    })
}

/// Reads what [`put_run`] has written, and nothing else.
///
/// # Errors
/// `Corruption` for other bytes.
pub(super) fn decode_run(bytes: &[u8]) -> Result<RunMeta> {
    let mut body = Reader::new(bytes);
    let run = run_meta(&mut body)?;
    if !body.is_empty() {
        return Err(Error::corruption(format!(
            "a run has {} bytes too many",
            body.remaining()
        )));
    }
    Ok(run)
}

/// The compression of a stored number: its place in [`Compression::ALL`].
pub(crate) fn compression_from_byte(byte: u8) -> Result<Compression> {
    Compression::ALL.get(usize::from(byte)).copied().ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("compression {byte} is not known to this version of Kodiak"),
        )
    })
}
