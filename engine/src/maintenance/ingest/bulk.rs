//! Rows in any order, sorted once.

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use kodiak_core::entry::prefix_of;
use kodiak_core::{Error, Result};

use super::columns::first_not_rising;
use super::rows::Rows;
use super::{Ingested, Ingestion};
use crate::db::Table;
use crate::side_by_side::side_by_side;
use crate::typed::{complete_batch, countable_rows};

/// Sorted rows that are gathered at once.
const GATHERED: usize = 64 << 10;

/// Bytes of rows that are worth a thread, and runs of their own.
const SHARE_BYTES: u64 = 8 << 20;

/// Rows and their keys.
type Keyed = (RecordBatch, BinaryArray);

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
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: u64,
}

impl<'s> Step<'s> {
    fn new(ingestion: Ingestion<'s>) -> Self {
        Self {
            ingestion,
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    fn has_room(&self) -> bool {
        self.bytes < self.ingestion.rows.common.shared.settings.memtable.size
    }

    fn add(&mut self, rows: RecordBatch) -> Result<()> {
        let rows = complete_batch(self.ingestion.rows.common.target.schema(), &rows)?.into_owned();
        if rows.num_rows() > 0 {
            self.rows += rows.num_rows();
            self.bytes += rows.columns().iter().map(super::columns::slice_bytes).sum::<usize>() as u64;
            self.batches.push(rows);
        }
        Ok(())
    }

    /// How many threads are worth while.
    fn threads(&self) -> usize {
        let settings = &self.ingestion.rows.common.shared.settings.compaction;
        let most = settings.max_subcompactions.clamp(1, self.rows.max(1));
        let wanted = self.bytes / SHARE_BYTES.min(settings.target_run_size).max(1);
        usize::try_from(wanted).unwrap_or(most).clamp(1, most)
    }

    fn commit(mut self) -> Result<Ingested> {
        let (rows, threads) = (self.rows, self.threads());
        let target = self.ingestion.rows.common.target.clone();
        let shares = shares(std::mem::take(&mut self.batches), rows.div_ceil(threads).max(1));
        let encoded = side_by_side("an ingestion", shares, |batches| {
            let keyed = batches.into_iter().map(|rows| {
                let keys = target.codecs().key.encode(rows.columns())?;
                Ok((rows, keys))
            });
            let keyed = keyed.collect::<Result<Vec<Keyed>>>()?;
            Ok((ascend(&keyed), keyed))
        });
        let encoded = encoded.into_iter().collect::<Result<Vec<_>>>()?;
        let ascending = encoded.iter().all(|(ascend, _)| *ascend)
            && encoded
                .windows(2)
                .all(|pair| match (pair[0].1.last(), pair[1].1.first()) {
                    (Some(left), Some(right)) => follow(left, right),
                    _ => true,
                });
        let shares: Vec<Vec<Keyed>> = encoded.into_iter().map(|(_, keyed)| keyed).collect();
        if ascending {
            let mut before = 0;
            let from = shares.into_iter().map(|keyed| {
                let first = before;
                before += keyed.iter().map(|(rows, _)| rows.num_rows()).sum::<usize>();
                (first, keyed)
            });
            return self.write(from.collect(), |rows, keyed| {
                keyed.into_iter().try_for_each(|(batch, keys)| push(rows, &batch, keys))
            });
        }
        let batches: Vec<Keyed> = shares.into_iter().flatten().collect();
        let order = order(&batches)?;
        let share = order.len().div_ceil(threads).max(1);
        let from = order
            .chunks(share)
            .enumerate()
            .map(|(number, some)| (number * share, some));
        let batches: Vec<&RecordBatch> = batches.iter().map(|(rows, _)| rows).collect();
        let stretch = GATHERED.min(countable_rows(target.schema()));
        self.write(from.collect(), |rows, order| {
            order.chunks(stretch).try_for_each(|some| {
                let gathered = interleave_record_batch(&batches, some)
                    .map_err(|error| Error::invalid_input("the rows cannot be sorted").with_source(error))?;
                let keys = target.codecs().key.encode(gathered.columns())?;
                push(rows, &gathered, keys)
            })
        })
    }

    /// Writes each share into runs of its own, given how many rows there are before it and how it is put there.
    fn write<T: Send>(
        mut self,
        shares: Vec<(usize, T)>,
        put: impl Fn(&mut Rows<'_>, T) -> Result<()> + Sync,
    ) -> Result<Ingested> {
        let common = self.ingestion.rows.common.clone();
        let written = side_by_side("an ingestion", shares, |(before, share)| {
            let mut rows = Rows::new(&common, before as u64);
            put(&mut rows, share)?;
            Ok((rows.entries, rows.finish()?))
        });
        let mut failure = None;
        let rows = &mut self.ingestion.rows;
        for share in written {
            match share {
                Ok((entries, runs)) => {
                    rows.entries = entries;
                    rows.finished.extend(runs);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            // What the others have written is removed with the ingestion.
            Some(error) => Err(error),
            None => self.ingestion.commit(),
        }
    }
}

/// The same rows, so many to a share; the last one may have fewer.
fn shares(batches: Vec<RecordBatch>, share: usize) -> Vec<Vec<RecordBatch>> {
    let (mut shares, mut room) = (Vec::new(), 0);
    for batch in batches {
        let mut from = 0;
        while from < batch.num_rows() {
            if room == 0 {
                shares.push(Vec::new());
                room = share;
            }
            let some = room.min(batch.num_rows() - from);
            if let Some(last) = shares.last_mut() {
                last.push(batch.slice(from, some));
            }
            (from, room) = (from + some, room - some);
        }
    }
    shares
}

/// Takes rows whose keys ascend, as all are in order by now.
fn push(rows: &mut Rows<'_>, batch: &RecordBatch, keys: BinaryArray) -> Result<()> {
    rows.push_ordered(keys, batch).map_err(|(_, error)| error)
}

/// True if the first key of `right` is behind the last one of `left`; neither is empty.
fn follow(left: &Keyed, right: &Keyed) -> bool {
    left.1.value(left.1.len() - 1) < right.1.value(0)
}

/// True if no key is before or the same as the one before it.
fn ascend(batches: &[Keyed]) -> bool {
    batches.windows(2).all(|pair| follow(&pair[0], &pair[1]))
        && batches.iter().all(|(_, keys)| first_not_rising(keys).is_none())
}

/// Where the rows are, by batch and row, in the order of their keys; of equal keys the last one.
fn order(batches: &[Keyed]) -> Result<Vec<(usize, usize)>> {
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
