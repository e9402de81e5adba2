//! Rows in any order, sorted once.

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use kodiak_core::entry::prefix_of;
use kodiak_core::{Error, Result};

use super::columns::first_not_rising;
use super::{Ingested, Ingestion};
use crate::db::Table;
use crate::typed::{complete_batch, countable_rows};

/// Sorted rows that are gathered at once.
const GATHERED: usize = 64 << 10;

type Batches<'b> = dyn Iterator<Item = Result<RecordBatch>> + 'b;

pub(super) fn insert(table: &Table, batches: &mut Batches<'_>) -> Result<Ingested> {
    let mut total = Ingested::default();
    let mut next = batches.next().transpose()?;
    while let Some(first) = next.take() {
        let mut step = Step::new(Ingestion::begin(&table.open.shared, &table.inner)?);
        step.add(first)?;
        loop {
            next = batches.next().transpose()?;
            match next.take_if(|_| step.has_room()) {
                Some(batch) => step.add(batch)?,
                None => break,
            }
        }
        let done = step.commit()?;
        total.entries += done.entries;
        total.runs += done.runs;
        total.bytes += done.bytes;
        total.level = done.level;
    }
    Ok(total)
}

/// Rows that become visible together.
struct Step<'s> {
    ingestion: Ingestion<'s>,
    /// Batches that wait to be sorted, with their keys; none as long as keys ascend.
    unsorted: Vec<(RecordBatch, BinaryArray)>,
    bytes: u64,
}

impl<'s> Step<'s> {
    fn new(ingestion: Ingestion<'s>) -> Self {
        Self {
            ingestion,
            unsorted: Vec::new(),
            bytes: 0,
        }
    }

    fn has_room(&self) -> bool {
        self.bytes < self.ingestion.shared.settings.memtable.size
    }

    fn add(&mut self, rows: RecordBatch) -> Result<()> {
        let target = self.ingestion.target.clone();
        let rows = complete_batch(target.schema(), &rows)?.into_owned();
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.bytes += rows.columns().iter().map(super::columns::slice_bytes).sum::<usize>() as u64;
        let keys = target.codecs().key.encode(rows.columns())?;
        self.unsorted.push((rows, keys));
        Ok(())
    }

    fn commit(mut self) -> Result<Ingested> {
        let batches = std::mem::take(&mut self.unsorted);
        if ascend(&batches) {
            for (rows, keys) in batches {
                self.push(&rows, keys)?;
            }
            return self.ingestion.commit();
        }
        let order = order(&batches)?;
        let rows: Vec<&RecordBatch> = batches.iter().map(|(rows, _)| rows).collect();
        let stretch = GATHERED.min(countable_rows(self.ingestion.target.schema()));
        for some in order.chunks(stretch) {
            let gathered = interleave_record_batch(&rows, some)
                .map_err(|error| Error::invalid_input("the rows cannot be sorted").with_source(error))?;
            let keys = self.ingestion.target.codecs().key.encode(gathered.columns())?;
            self.push(&gathered, keys)?;
        }
        self.ingestion.commit()
    }

    /// Takes rows whose keys ascend, as all are in order by now.
    fn push(&mut self, rows: &RecordBatch, keys: BinaryArray) -> Result<()> {
        self.ingestion.push_ordered(keys, rows).map_err(|(_, error)| error)
    }
}

/// True if no key is before or the same as the one before it.
fn ascend(batches: &[(RecordBatch, BinaryArray)]) -> bool {
    let follow = |pair: &[(RecordBatch, BinaryArray)]| {
        let (left, right) = (&pair[0].1, &pair[1].1);
        left.value(left.len() - 1) < right.value(0)
    };
    batches.windows(2).all(follow) && batches.iter().all(|(_, keys)| first_not_rising(keys).is_none())
}

/// Where the rows are, by batch and row, in the order of their keys; of equal keys the last one.
fn order(batches: &[(RecordBatch, BinaryArray)]) -> Result<Vec<(usize, usize)>> {
    let rows: usize = batches.iter().map(|(rows, _)| rows.num_rows()).sum();
    if u32::try_from(rows).is_err() {
        return Err(Error::invalid_input(format!(
            "{rows} rows are too many at once: insert them in smaller batches"
        )));
    }
    let key = |place: (u32, u32)| batches[place.0 as usize].1.value(place.1 as usize);
    let mut places: Vec<(u64, (u32, u32))> = Vec::with_capacity(rows);
    for (batch, (_, keys)) in batches.iter().enumerate() {
        places.extend((0..keys.len()).map(|row| (prefix_of(keys.value(row)), (batch as u32, row as u32))));
    }
    places.sort_unstable_by(|left, right| {
        let by_key = left.0.cmp(&right.0).then_with(|| key(left.1).cmp(key(right.1)));
        by_key.then(left.1.cmp(&right.1))
    });
    let mut order: Vec<(usize, usize)> = Vec::with_capacity(rows);
    for (index, &(prefix, place)) in places.iter().enumerate() {
        let superseded = places
            .get(index + 1)
            .is_some_and(|next| next.0 == prefix && key(next.1) == key(place));
        if !superseded {
            order.push((place.0 as usize, place.1 as usize));
        }
    }
    Ok(order)
}
