//! Which values of a column being decoded are nulls.

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::NullBuffer;

/// Which values are no nulls.
#[derive(Debug, Default)]
pub(super) struct Validity {
    /// How many values there are.
    pub len: usize,
    /// A bit for each; made with the first null.
    bits: Option<BooleanBufferBuilder>,
}

impl Validity {
    /// Adds values, all of them valid or none.
    #[inline]
    pub fn append_n(&mut self, count: usize, valid: bool) {
        if !valid && count > 0 {
            self.first_null(count);
        }
        if let Some(bits) = &mut self.bits {
            bits.append_n(count, valid);
        }
        self.len += count;
    }

    /// Adds a value.
    #[inline]
    pub fn append(&mut self, valid: bool) {
        if !valid {
            self.first_null(1);
        }
        if let Some(bits) = &mut self.bits {
            bits.append(valid);
        }
        self.len += 1;
    }

    /// Makes bits for those before, and room for more, unless there are bits already.
    fn first_null(&mut self, more: usize) {
        self.bits.get_or_insert_with(|| {
            let mut bits = BooleanBufferBuilder::new(self.len + more);
            bits.append_n(self.len, true);
            bits
        });
    }

    /// The bits, if there is a null.
    pub fn finish(&mut self) -> Option<NullBuffer> {
        let nulls = self.bits.take().map(|mut bits| NullBuffer::new(bits.finish()));
        nulls.filter(|nulls| nulls.null_count() > 0)
    }
}
