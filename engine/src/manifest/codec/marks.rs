//! The stored form of dead rows in version edits: see `docs/formats/manifest.md`.

use kodiak_core::compaction::RunId;
use kodiak_core::varint::{Reader, put_bytes, put_u64};
use kodiak_core::{Error, Result};

use super::boolean;
use crate::manifest::edit::{DeadRows, Marks};

/// Appends the stored form.
pub(super) fn put_marks(out: &mut Vec<u8>, marks: &Marks) {
    out.push(u8::from(marks.anew));
    put_u64(out, marks.runs.len() as u64);
    let mut bitmap = Vec::new();
    for (run, dead) in &marks.runs {
        put_u64(out, *run);
        put_u64(out, dead.newest);
        put_u64(out, dead.operands);
        bitmap.clear();
        dead.encode_rows(&mut bitmap);
        put_bytes(out, &bitmap);
    }
}

/// Reads what [`put_marks`] has written.
///
/// # Errors
/// `Corruption` for other bytes.
pub(super) fn marks(body: &mut Reader<'_>) -> Result<Marks> {
    let anew = boolean(body)?;
    // The least is four bytes each.
    let count = body.len(body.remaining() / 4)?;
    let run = |body: &mut Reader<'_>| {
        let (run, newest, operands) = (body.u64()?, body.u64()?, body.u64()?);
        let rows = DeadRows::decode_rows(body.bytes()?)?;
        let dead = DeadRows { rows, newest, operands };
        Ok((run, dead))
    };
    let runs: Vec<(RunId, DeadRows)> = (0..count).map(|_| run(body)).collect::<Result<_>>()?;
    if runs.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(Error::corruption("runs with dead rows are not in order"));
    }
    Ok(Marks { anew, runs })
}
