//! The bytes of its files.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak::core::index::{IndexContext, MAX_OWNER, Root};
use kodiak::core::varint::{Reader, put_bytes, put_u64};
use kodiak::{Error, Result};

use super::{Entries, State};

/// What a file holds: the name of the operator, whose it is, the last number, and the roots with all of their entries.
pub(super) fn encode(context: &IndexContext, last: u64, roots: &BTreeMap<Root, Arc<Entries>>) -> Vec<u8> {
    let mut out = b"map2".to_vec();
    put_bytes(&mut out, name_of(context).as_bytes());
    put_bytes(&mut out, &context.owner);
    put_u64(&mut out, last);
    for (root, entries) in roots {
        put_u64(&mut out, root.0);
        put_u64(&mut out, entries.len() as u64);
        for (key, value) in &**entries {
            put_bytes(&mut out, key);
            put_bytes(&mut out, value);
        }
    }
    out
}

/// What a file holds, and whose it is.
pub(super) fn read(context: &IndexContext) -> Result<(State, Vec<u8>)> {
    check_owner(context)?;
    let file = context.storage.open(&context.path)?;
    let bytes = file.read(0, file.len() as usize)?;
    let body = bytes.strip_prefix(b"map2");
    let mut reader =
        Reader::new(body.ok_or_else(|| Error::settings("index.primary", "the file is not of this index"))?);
    let operator = reader.str()?;
    if operator != name_of(context) {
        return Err(Error::settings(
            "upsert",
            format!("the file was made with \"{operator}\""),
        ));
    }
    let owner = reader.bytes()?.to_vec();
    if !owner.is_empty() && !context.owner.is_empty() && owner != context.owner {
        let (owner, given) = (owner.escape_ascii(), context.owner.escape_ascii());
        return Err(Error::corruption(format!(
            "the file is of \"{owner}\", not of \"{given}\""
        )));
    }
    let (last, mut roots) = (reader.u64()?, BTreeMap::new());
    while !reader.is_empty() {
        let (root, count) = (Root(reader.u64()?), reader.u64()?);
        let entry = |_| Ok((reader.bytes()?.to_vec(), reader.bytes()?.to_vec()));
        roots.insert(root, Arc::new((0..count).map(entry).collect::<Result<Entries>>()?));
    }
    let (_, newest) = roots
        .last_key_value()
        .ok_or_else(|| Error::corruption("the file has no root"))?;
    let state = State {
        working: Entries::clone(newest),
        changed: false,
        last,
        roots,
        changes: 0,
    };
    Ok((state, owner))
}

/// Refuses one that is too long.
pub(super) fn check_owner(context: &IndexContext) -> Result<()> {
    match context.owner.len() {
        0..=MAX_OWNER => Ok(()),
        _ => Err(Error::invalid_input("an owner that is too long")),
    }
}

fn name_of(context: &IndexContext) -> &str {
    context.upsert.as_ref().map_or("", |upsert| upsert.name())
}
