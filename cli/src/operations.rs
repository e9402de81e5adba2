//! Operations as dumps of logs and runs show them.

use kodiak::core::Op;
use kodiak::core::batch::BatchOp;
use kodiak::inspect::RowReader;

use crate::bytes::Encoding;
use crate::rows;

/// How operations are shown: rows of tables with columns as JSON, all others as keys and values.
pub struct Shown {
    /// What is known of tables with columns.
    pub rows: Option<RowReader>,
    /// Of keys and values; rows are not decoded if it is hexadecimal.
    pub encoding: Encoding,
}

impl Shown {
    /// What is done to what. Bytes that should be a row and are none are shown as they are.
    pub fn text(&self, op: &BatchOp<'_>) -> String {
        let name = match op.op {
            Op::Put => "put",
            Op::Delete => "delete",
            Op::Merge => "merge",
            Op::RangeDelete => "delete-range",
        };
        let rows = self.rows.as_ref().filter(|_| !self.encoding.hex);
        let row = rows.and_then(|rows| rows.row(op.table, op.op, op.key, op.value).ok().flatten());
        if let Some(row) = row {
            let mut json = Vec::new();
            if rows::show(&row, 1, &mut json).is_ok() {
                return format!("{name} {}", String::from_utf8_lossy(&json).trim_end());
            }
        }
        let mut text = format!("{name} ");
        self.encoding.show(op.key, &mut text);
        if op.op != Op::Delete {
            text.push('\t');
            self.encoding.show(op.value, &mut text);
        }
        text
    }
}
