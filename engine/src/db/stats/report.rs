//! Statistics as a text.

use std::fmt::{self, Display, Formatter};

use super::{LevelStats, Stats, TableStats, WorkStats};
use crate::secondary::SecondaryStats;

impl Display for Stats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.tables.iter().try_for_each(|table| write!(f, "{table}"))?;
        let (memory, budget) = (human(self.memory_bytes()), human(self.memory_budget));
        writeln!(f, "memory: {memory} of {budget}")?;
        writeln!(
            f,
            "open runs: {}, snapshots: {}, last sequence number: {}",
            self.open_runs, self.snapshots, self.last_seq
        )?;
        self.written(f)?;
        self.worked(f)?;
        self.read(f)?;
        self.stalled(f)
    }
}

/// What was done since the opening; what was not is not told.
impl Stats {
    fn written(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.user_writes > 0 {
            let (bytes, writes) = (human(self.user_bytes), self.user_writes);
            writeln!(f, "written: {bytes} in {writes} operations")?;
        }
        if let Some(factor) = self.write_amplification() {
            writeln!(f, "write amplification: {factor:.2}")?;
        }
        let log = &self.wal;
        if log.records + log.syncs + log.failures > 0 {
            writeln!(
                f,
                "log: {} records, {}, {} syncs, {} segments, {} failures",
                log.records,
                human(log.bytes),
                log.syncs,
                log.segments,
                log.failures
            )?;
        }
        Ok(())
    }

    fn worked(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, work) in [("flushes", &self.flushes), ("compactions", &self.compactions)] {
            let WorkStats {
                jobs,
                bytes_read,
                bytes_written,
                nanos,
            } = *work;
            if jobs > 0 {
                let (read, written) = (human(bytes_read), human(bytes_written));
                writeln!(
                    f,
                    "{name}: {jobs}, {read} read, {written} written, {:.3} s",
                    seconds(nanos)
                )?;
            }
        }
        if self.moves > 0 {
            writeln!(f, "runs moved: {}", self.moves)?;
        }
        Ok(())
    }

    fn read(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let reads = &self.reads;
        if let Some(factor) = self.read_amplification() {
            writeln!(
                f,
                "point reads: {} went to the runs and searched {factor:.2} each; filters kept {} from being searched",
                reads.gets, reads.excluded
            )?;
        }
        if self.blocks_read() + reads.left_out_blocks > 0 {
            writeln!(
                f,
                "blocks read: {}, {} of them in mapped files; {} left out by their statistics",
                self.blocks_read(),
                reads.mapped_blocks,
                reads.left_out_blocks
            )?;
        }
        let (cache, asked) = (&self.cache, self.cache.hits + self.cache.misses);
        if asked > 0 {
            writeln!(
                f,
                "cache: {} of {} in {} blocks, {:.1} % hits of {asked}",
                human(cache.used),
                human(cache.capacity),
                cache.blocks,
                percent(cache.hits, asked)
            )?;
        }
        Ok(())
    }

    fn stalled(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (cause, count, nanos) in self.stalls.iter().filter(|(_, count, _)| *count > 0) {
            writeln!(f, "stalls by {}: {count}, {:.3} s", cause.name(), seconds(*nanos))?;
        }
        Ok(())
    }
}

impl Display for TableStats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "table {}: {} entries in memory ({}), {} memtables to flush",
            self.name,
            self.memtable_entries,
            human(self.memtable_bytes),
            self.frozen
        )?;
        for (level, stats) in self.levels.iter().enumerate().filter(|(_, stats)| stats.runs > 0) {
            writeln!(
                f,
                "  level {level}: {} runs in {} sorted runs, {}, {} entries, {} tombstones",
                stats.runs,
                stats.sorted_runs,
                human(stats.bytes),
                stats.entries,
                stats.tombstones
            )?;
        }
        if let Some(factor) = self.space_amplification() {
            writeln!(
                f,
                "  {} sorted runs to merge, space amplification at most {factor:.2}",
                self.sorted_runs()
            )?;
        }
        for secondary in &self.secondary {
            writeln!(f, "  {secondary}")?;
        }
        if let Some((kind, index)) = &self.index {
            writeln!(
                f,
                "  primary index: {kind}, {}, {} written in {} commits, {} of {} reads of nodes from memory",
                human(index.used_bytes),
                human(index.write_bytes),
                index.commits,
                index.hits,
                index.hits + index.misses
            )?;
        }
        if self.deletion_vectors {
            let sum = |of: fn(&LevelStats) -> u64| self.levels.iter().map(of).sum::<u64>();
            let (dead, entries) = (sum(|level| level.dead), sum(|level| level.entries));
            let share = percent(dead, entries.max(1));
            writeln!(
                f,
                "  deletion vectors: {dead} of {entries} entries are dead ({share:.1} %)"
            )?;
        }
        if let Some(publication) = &self.publication {
            let state = match (&publication.failure, publication.due) {
                (Some(failure), _) => format!("the last attempt failed: {failure}"),
                (None, true) => "behind".to_owned(),
                (None, false) => "up to date".to_owned(),
            };
            writeln!(f, "  publication: {state}, {} made", publication.publications)?;
        }
        Ok(())
    }
}

impl Display for SecondaryStats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (exact, index) = (if self.exact { ", exact" } else { "" }, &self.index);
        write!(
            f,
            "index {}: {}{exact}, {}, {} written in {} commits; {} reads found {} rows, looked up {}, resolved {}, met {} void entries",
            self.name,
            self.kind,
            human(index.used_bytes),
            human(index.write_bytes),
            index.commits,
            self.reads,
            self.found,
            self.looked_up,
            self.resolved,
            self.void
        )
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

/// Bytes in the largest unit of which there is at least one.
fn human(bytes: u64) -> String {
    let power = bytes.checked_ilog2().unwrap_or(0) / 10;
    match ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].get(power as usize) {
        Some(unit) if power > 0 => format!("{:.1} {unit}", bytes as f64 / (1u64 << (10 * power)) as f64),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_told_in_units_that_fit() {
        let told = [0, 1023, 1024, 1536, 5 << 20, 3 << 40, u64::MAX].map(super::human);
        assert_eq!(
            told,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 TiB", "16.0 EiB"]
        );
    }
}
