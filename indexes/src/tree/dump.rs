//! Printing the nodes of a root, for people.

use kodiak_core::Result;
use kodiak_core::index::Root;

use crate::store::Store;
use crate::store::piece::{PAGE, Ptr};

/// Prints a key, cut if it is long.
fn show(key: &[u8]) -> String {
    let cut = if key.len() > 32 { "..." } else { "" };
    format!("{}{cut}", key[..key.len().min(32)].escape_ascii())
}

/// Prints every node and leaf below a root, each with its place and what it holds.
///
/// # Errors
/// `NotFound`, `Corruption`, `Io`.
pub(crate) fn dump(store: &Store, root: Root, line: &mut dyn FnMut(String)) -> Result<()> {
    let info = store.pin(root.0)?;
    line(format!(
        "{root}: {}",
        match info.top {
            None => "empty".to_owned(),
            Some(_) => format!("{} levels", u32::from(info.level) + 1),
        }
    ));
    let dumped = info.top.map_or(Ok(()), |top| piece(store, &top, info.level, 1, line));
    store.unpin(root.0);
    dumped
}

fn piece(store: &Store, ptr: &Ptr, level: u8, depth: usize, line: &mut dyn FnMut(String)) -> Result<()> {
    let indent = "  ".repeat(depth);
    let place = format!("at {} ({} bytes, commit {})", ptr.page * PAGE, ptr.len, ptr.birth);
    let piece_ref = store.read_once(ptr)?;
    if level == 0 {
        let leaf = piece_ref.leaf().map_err(|error| store.at(error, ptr))?;
        let keys = match leaf.len() {
            0 => "no entries".to_owned(),
            len => format!("{len} entries, {} to {}", show(&leaf.key(0)), show(&leaf.key(len - 1))),
        };
        line(format!(
            "{indent}leaf {place}: {keys}, prefix \"{}\"",
            show(leaf.prefix())
        ));
        return Ok(());
    }
    let node = piece_ref.node(level).map_err(|error| store.at(error, ptr))?;
    line(format!(
        "{indent}node of level {level} {place}: {} children",
        node.children.len()
    ));
    for (index, child) in node.children.iter().enumerate() {
        if index > 0 {
            line(format!("{indent}  from {}", show(node.keys.get(index - 1))));
        }
        if let Some(pointer) = &child.buffer {
            let piece = store.read_once(&pointer.ptr)?;
            let buffer = piece.buffer().map_err(|error| store.at(error, &pointer.ptr))?;
            line(format!(
                "{indent}  buffer at {} ({} bytes): {} changes, {} range deletes",
                pointer.ptr.page * PAGE,
                pointer.ptr.len,
                buffer.points.len(),
                buffer.ranges.iter().count()
            ));
        }
        piece(store, &child.ptr, level - 1, depth + 1, line)?;
    }
    Ok(())
}
