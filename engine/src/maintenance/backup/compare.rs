//! Copies of runs, compared with the originals.

use std::path::Path;

use kodiak_core::storage::Storage;
use kodiak_core::{Error, Result};

use crate::maintenance::files;
use crate::manifest::RunMeta;
use crate::sidecar::{EXTENSION, Sidecar};

/// Compares the copy of a sidecar with the manifest, or of a data file with the checksums of its sidecar, which lies beside
/// the original.
pub(super) fn check_copy(
    (files, from): (&dyn Storage, &Path),
    (storage, copy): (&dyn Storage, &Path),
    meta: &RunMeta,
) -> Result<()> {
    let in_original = |error: Error| error.with_file(from);
    let sidecar = |storage, path: &Path| Sidecar::read(files::read_small(storage, path)?);
    if from.extension().is_some_and(|ending| ending == EXTENSION) {
        let copied = sidecar(storage, copy)
            .and_then(|copied| copied.verify().map(|()| copied))
            .map_err(in_original)?;
        if copied.crc() != meta.sidecar_crc {
            return Err(in_original(Error::corruption(
                "it is not the sidecar that the manifest names",
            )));
        }
        return Ok(());
    }
    let layout =
        crate::maintenance::check::layout_of(&sidecar(files, &from.with_extension(EXTENSION))?).map_err(in_original)?;
    let file = storage.open(copy)?;
    if file.len() != layout.file_bytes {
        let message = format!("the file has {} bytes, not {}", file.len(), layout.file_bytes);
        return Err(in_original(Error::corruption(message)));
    }
    let parts = layout
        .blocks
        .iter()
        .flat_map(|block| &block.parts)
        .chain(&layout.shared);
    for part in parts {
        crate::maintenance::fetch::fetch(&*file, part).map_err(in_original)?;
    }
    Ok(())
}
