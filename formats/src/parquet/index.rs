//! Page indexes: where each page of a column chunk is, and between which bounds its values lie.

use super::plan::Column;
use super::stats::{Bounds, less};
use super::thrift::{Writer, kind};

/// Gathers the page indexes of a column chunk.
#[derive(Debug, Default)]
pub(super) struct PageIndex {
    pages: Vec<Page>,
    /// True once a page had values but no bounds: then there is no index of bounds.
    unknown: bool,
}

#[derive(Debug)]
struct Page {
    rows: usize,
    nulls: usize,
    bounds: Option<Bounds>,
}

impl PageIndex {
    /// Adds a page of so many `rows`, and of so many `entries`, of which `nulls` are absent.
    pub fn add(&mut self, column: &Column, bounds: Option<Bounds>, nulls: usize, entries: usize, rows: usize) {
        self.unknown |= !column.bounds || (bounds.is_none() && nulls < entries);
        self.pages.push(Page { rows, nulls, bounds });
    }

    /// The index of bounds (Parquet's `ColumnIndex`), if there are bounds.
    pub fn column_index(&self, column: &Column) -> Option<Vec<u8>> {
        if self.unknown {
            return None;
        }
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        let pages = self.pages.len();
        writer.list(1, pages, kind::TRUE);
        self.pages
            .iter()
            .for_each(|page| writer.bool_element(page.bounds.is_none()));
        writer.list(2, pages, kind::BINARY);
        self.pages
            .iter()
            .for_each(|page| writer.binary_element(page.bounds.as_ref().map_or(&[], |b| &b.min)));
        writer.list(3, pages, kind::BINARY);
        self.pages
            .iter()
            .for_each(|page| writer.binary_element(page.bounds.as_ref().map_or(&[], |b| &b.max)));
        writer.i32(4, self.boundary_order(column));
        writer.list(5, pages, kind::I64);
        self.pages.iter().for_each(|page| writer.i64_element(page.nulls as i64));
        writer.end();
        Some(out)
    }

    /// Parquet's number of the order in which bounds follow each other: 0 none, 1 ascending, 2 descending.
    fn boundary_order(&self, column: &Column) -> i32 {
        let known: Vec<_> = self.pages.iter().filter_map(|page| page.bounds.as_ref()).collect();
        let ordered = |before: fn(&Column, &Bounds, &Bounds) -> bool| {
            known.windows(2).all(|pair| !before(column, pair[1], pair[0]))
        };
        if ordered(|column, left, right| less(column, &left.min, &right.min) || less(column, &left.max, &right.max)) {
            1
        } else if ordered(|column, left, right| {
            less(column, &right.min, &left.min) || less(column, &right.max, &left.max)
        }) {
            2
        } else {
            0
        }
    }

    /// The index of places (Parquet's `OffsetIndex`), the first page being at `offset`.
    pub fn offset_index(&self, offset: u64, lengths: &[(u64, u32)]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.list(1, self.pages.len(), kind::STRUCT);
        let (mut at, mut row) = (offset, 0);
        for (page, (len, _)) in self.pages.iter().zip(lengths) {
            writer.element(|location| {
                location.i64(1, at as i64);
                location.i32(2, *len as i32);
                location.i64(3, row);
            });
            at += len;
            row += page.rows as i64;
        }
        writer.end();
        out
    }
}
