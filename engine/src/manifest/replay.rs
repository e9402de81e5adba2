//! Reading the manifest that is in force.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};

use super::catalogue::CatalogueView;
use super::files::{self, CURRENT, Current, HEADER_BYTES, Header, TAIL, Tail, TailMark, file_name};
use super::{CatalogueMeta, Change, Manifest, State, VersionEdit};

/// Opens the catalogue that the manifest of a database, which has this identity, names.
pub(super) type Opener<'o> = &'o mut dyn FnMut(u64, &CatalogueMeta) -> Result<Arc<CatalogueView>>;

/// What a manifest was found to hold.
pub(super) struct Replayed {
    pub current: Current,
    pub state: State,
    /// The manifest that the tail is of.
    pub marked: Option<u64>,
    /// The tail that what was read should have.
    pub mark: TailMark,
}

/// Reads the manifest that is in force and hands over each edit with the offset of its record.
///
/// # Errors
/// As [`Manifest::read`], and whatever `sink` and `open` return.
pub(super) fn replay(
    storage: &dyn Storage,
    dir: &Path,
    sink: &mut dyn FnMut(u64, &VersionEdit) -> Result<()>,
    open: Opener<'_>,
) -> Result<Replayed> {
    if !Manifest::exists(storage, dir)? {
        return Err(Error::new(ErrorKind::NotFound, "there is no database").with_file(dir));
    }
    let current = Current::read(storage, &dir.join(CURRENT))?;
    let mark = Tail::read(storage, &dir.join(TAIL))?;
    let path = dir.join(file_name(current.number));
    let bytes = files::read_all(storage, &path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::corruption("CURRENT names this file, but it is missing")
            .with_file(&path)
            .with_source(error),
        _ => error,
    })?;
    let least = least_length(&current, mark.as_ref()).map_err(|error| error.with_file(dir.join(TAIL)))?;
    let (state, mark_now) = replay_file(&bytes, &current, least, sink, open).map_err(|error| match error.file() {
        // A catalogue.
        Some(_) => error,
        None => error.with_file(&path),
    })?;
    Ok(Replayed {
        current,
        state,
        marked: mark.map(|mark| mark.number),
        mark: mark_now,
    })
}

/// The length up to which the manifest file that `current` names must be whole, and the records in it.
fn least_length(current: &Current, mark: Option<&TailMark>) -> Result<(u64, u64)> {
    let snapshot = (HEADER_BYTES as u64 + 1, 1);
    let Some(mark) = mark else {
        // The creation got as far as CURRENT.
        return if current.number == 1 {
            Ok(snapshot)
        } else {
            Err(Error::corruption(
                "it is empty, although the manifest was rewritten since the database was created",
            ))
        };
    };
    if mark.identity != current.identity {
        return Err(Error::corruption("it belongs to another database than CURRENT does"));
    }
    if mark.number > current.number {
        let message = format!(
            "CURRENT names manifest {}, but {} was in force: CURRENT is an older copy",
            current.number, mark.number
        );
        return Err(Error::corruption(message));
    }
    if mark.number + 1 < current.number {
        let message = format!(
            "CURRENT names manifest {}, but the tail is of {}: the tail is an older copy",
            current.number, mark.number
        );
        return Err(Error::corruption(message));
    }
    // A tail of the manifest before: the switch to this one was interrupted just before its end.
    Ok(if mark.number == current.number {
        (mark.length, mark.records)
    } else {
        snapshot
    })
}

fn replay_file(
    bytes: &[u8],
    current: &Current,
    (least, records): (u64, u64),
    sink: &mut dyn FnMut(u64, &VersionEdit) -> Result<()>,
    open: Opener<'_>,
) -> Result<(State, TailMark)> {
    let header = Header::decode(bytes)?;
    if header.number != current.number || header.identity != current.identity {
        return Err(Error::corruption(
            "it is not the manifest that CURRENT names: its number or database differs",
        ));
    }
    if header.file_bytes != bytes.len() as u64 {
        return Err(Error::corruption(format!(
            "it has {} bytes, not {}",
            bytes.len(),
            header.file_bytes
        )));
    }
    let mut state = State::default();
    let (mut at, mut sequence) = (HEADER_BYTES, 0);
    loop {
        let next = match files::next_record(bytes, at, &header, sequence + 1) {
            Ok(next) => next,
            // Nobody was told of what lies beyond the tail.
            Err(_) if at as u64 >= least => None,
            Err(error) => return Err(error.with_offset(at as u64)),
        };
        let Some(payload) = next else { break };
        let edit = VersionEdit::decode(payload).map_err(|error| error.with_offset(at as u64))?;
        let misfit = |error: Error| match error.file() {
            Some(_) => error,
            None => error.with_offset(at as u64),
        };
        if let Some(Change::Catalogue(meta)) = edit
            .changes
            .iter()
            .find(|change| matches!(change, Change::Catalogue(_)))
        {
            state.attach(open(header.identity, meta)?);
        }
        state.apply_in_place(&edit).map_err(misfit)?;
        sink(at as u64, &edit)?;
        at += files::RECORD_HEADER + payload.len();
        sequence += 1;
    }
    if (at as u64) < least || sequence < records {
        let message = format!("edits are missing: it ends after {sequence} records, but {records} were acknowledged");
        return Err(Error::corruption(message).with_offset(at as u64));
    }
    if state.identity != header.identity {
        return Err(Error::corruption("its snapshot is of another database than its header"));
    }
    let mark = TailMark {
        identity: header.identity,
        number: header.number,
        length: at as u64,
        records: sequence,
    };
    Ok((state, mark))
}
