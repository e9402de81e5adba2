//! From versions of a key to its value.

use kodiak_core::{Error, ErrorKind, Result, Slice};

use crate::merge::MergeOperator;

/// Applies `operands` (newest first, as reads meet them) over `base`.
///
/// # Errors
/// `Unavailable` if the table's operator was not registered at this opening; what the operator returns.
pub fn resolve_merge(
    operator: Option<&dyn MergeOperator>,
    key: &[u8],
    base: Option<&[u8]>,
    operands: &[Slice],
) -> Result<Slice> {
    let operator = operator.ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            "this table holds merge operands but has no merge operator",
        )
    })?;
    let oldest_first: Vec<&[u8]> = operands.iter().rev().map(|operand| &**operand).collect();
    operator.merge(key, base, &oldest_first).map(Slice::from)
}
