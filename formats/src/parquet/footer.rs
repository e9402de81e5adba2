//! Reading the metadata at a file's end, as little of it as is needed, without trusting it.

use kodiak_core::{Error, Result};
use parquet::basic::Type as PhysicalType;
use parquet::schema::types::Type;

use super::plan::Plan;
use super::thrift::{Reader, kind};

/// What begins and ends a Parquet file.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";
/// Length of the metadata and [`MAGIC`] at the very end.
pub(crate) const TAIL: u64 = 8;

/// The metadata of a file.
#[derive(Debug, Default)]
pub(crate) struct Footer {
    pub leaves: Vec<Leaf>,
    pub groups: Vec<Group>,
}

/// A column, or what is inside of one, as the file's schema has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub name: String,
    physical: Option<i64>,
    length: Option<i64>,
    repetition: Option<i64>,
    /// The number of the column, in files of a table that has been altered.
    id: Option<i64>,
    pub children: i64,
}

/// A row group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub rows: u64,
    pub chunks: Vec<Chunk>,
}

/// The pages of a column in a row group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub offset: u64,
    pub len: u64,
    pub codec: i64,
    /// Values, nulls included.
    pub values: u64,
}

impl Footer {
    /// Reads the metadata, up to and including the first row group that has columns if `first_group` says so.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn parse(bytes: &[u8], first_group: bool) -> Result<Self> {
        let mut footer = Self::default();
        footer
            .read(&mut Reader::new(bytes), first_group)
            .ok_or_else(|| Error::corruption("the metadata of a Parquet file is cut off or malformed"))?;
        Ok(footer)
    }

    fn read(&mut self, reader: &mut Reader<'_>, first_group: bool) -> Option<()> {
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (2, kind::LIST) => self.leaves = structs(reader, usize::MAX, Leaf::read)?,
                (4, kind::LIST) => {
                    let limit = if first_group { 1 } else { usize::MAX };
                    self.groups = structs(reader, limit, Group::read)?;
                    if first_group && !self.groups.is_empty() {
                        return Some(());
                    }
                }
                _ => reader.skip(field)?,
            }
        }
        Some(())
    }

    /// Checks that the file holds the columns of a plan.
    ///
    /// # Errors
    /// `Corruption` naming the column.
    pub(super) fn check(&self, plan: &Plan) -> Result<()> {
        let (root, leaves) = self
            .leaves
            .split_first()
            .ok_or_else(|| Error::corruption("a Parquet file has no schema"))?;
        let mut expected = Vec::with_capacity(leaves.len());
        for column in plan.descriptor.root_schema().get_fields() {
            flatten(column, column.name(), &mut expected);
        }
        if leaves.len() != expected.len() || root.children != plan.nodes.len() as i64 {
            return Err(Error::corruption(format!(
                "a Parquet file has {} columns where the table's runs have {}",
                leaves.len(),
                expected.len()
            )));
        }
        for (leaf, (column, expected)) in leaves.iter().zip(&expected) {
            let fixed = expected.length.is_some();
            let same = leaf.name == expected.name
                && leaf.physical == expected.physical
                && (!fixed || leaf.length == expected.length)
                && leaf.repetition == expected.repetition
                && leaf.children == expected.children
                && leaf.id == expected.id;
            if !same {
                return Err(Error::corruption(format!(
                    "\"{}\" of a Parquet file is not what the table's column \"{column}\" has there",
                    leaf.name.escape_debug(),
                )));
            }
        }
        Ok(())
    }
}

/// Appends what stands in a file's schema for a type and everything inside of it, with the name of the column.
fn flatten<'a>(node: &Type, column: &'a str, out: &mut Vec<(&'a str, Leaf)>) {
    let info = node.get_basic_info();
    let (physical, length, children) = match node {
        Type::PrimitiveType {
            physical_type,
            type_length,
            ..
        } => {
            let fixed = *physical_type == PhysicalType::FIXED_LEN_BYTE_ARRAY;
            (Some(*physical_type as i64), fixed.then_some(i64::from(*type_length)), 0)
        }
        Type::GroupType { fields, .. } => (None, None, fields.len() as i64),
    };
    out.push((
        column,
        Leaf {
            name: node.name().to_owned(),
            physical,
            length,
            repetition: Some(info.repetition() as i64),
            id: info.has_id().then(|| info.id().into()),
            children,
        },
    ));
    if let Type::GroupType { fields, .. } = node {
        fields.iter().for_each(|field| flatten(field, column, out));
    }
}

/// Up to `limit` structs of a list; the vector grows as they are read, never ahead of them.
fn structs<T>(reader: &mut Reader<'_>, limit: usize, read: impl Fn(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
    let (len, of) = reader.list()?;
    if of != kind::STRUCT && len > 0 {
        return None;
    }
    let mut out = Vec::new();
    for _ in 0..len.min(limit) {
        out.push(read(reader)?);
    }
    Some(out)
}

impl Leaf {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut leaf = Self::default();
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (1, kind::I32) => leaf.physical = Some(reader.int()?),
                (2, kind::I32) => leaf.length = Some(reader.int()?),
                (3, kind::I32) => leaf.repetition = Some(reader.int()?),
                (4, kind::BINARY) => leaf.name = String::from_utf8_lossy(reader.binary()?).into_owned(),
                (5, kind::I32) => leaf.children = reader.int()?,
                (9, kind::I32) => leaf.id = Some(reader.int()?),
                _ => reader.skip(field)?,
            }
        }
        Some(leaf)
    }
}

impl Group {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut group = Self::default();
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (1, kind::LIST) => group.chunks = structs(reader, usize::MAX, Chunk::read)?,
                (3, kind::I64) => group.rows = u64::try_from(reader.int()?).ok()?,
                _ => reader.skip(field)?,
            }
        }
        Some(group)
    }
}

impl Chunk {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut chunk = None;
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                // A chunk in another file is none of ours.
                (1, kind::BINARY) => return None,
                (3, kind::STRUCT) => chunk = Some(Self::read_metadata(reader)?),
                _ => reader.skip(field)?,
            }
        }
        chunk
    }

    fn read_metadata(reader: &mut Reader<'_>) -> Option<Self> {
        let (mut codec, mut len, mut data, mut dictionary, mut values) = (None, None, None, None, 0);
        let mut last = 0;
        while let Some((id, field)) = reader.field(&mut last)? {
            match (id, field) {
                (4, kind::I32) => codec = Some(reader.int()?),
                (5, kind::I64) => values = u64::try_from(reader.int()?).ok()?,
                (7, kind::I64) => len = Some(u64::try_from(reader.int()?).ok()?),
                (9, kind::I64) => data = Some(u64::try_from(reader.int()?).ok()?),
                (11, kind::I64) => dictionary = Some(u64::try_from(reader.int()?).ok()?),
                _ => reader.skip(field)?,
            }
        }
        let offset = data?.min(dictionary.unwrap_or(u64::MAX));
        Some(Self {
            offset,
            len: len?,
            codec: codec?,
            values,
        })
    }
}
