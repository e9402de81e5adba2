//! How much memory a load takes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kodiak::{Db, Settings, Table, TableSchema};

const MIB: u64 = 1 << 20;

/// What a database may take beyond its budget: code, stacks, what the allocator keeps, bytes on their way to a file.
pub const BEYOND_BUDGET: u64 = 64 * MIB;

/// The highest marks of the process, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peak {
    /// Resident in all, as the kernel has noted it.
    pub resident: u64,
    /// Of it memory that belongs to no file, at the highest that was seen.
    pub anonymous: u64,
    /// Of it pages of mapped files, at the highest that was seen.
    pub mapped: u64,
}

impl Peak {
    /// What the kernel says at this moment; `None` where there is no `/proc`.
    pub fn now() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let field = |name: &str| -> Option<u64> {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
        };
        Some(Self {
            resident: field("VmHWM")?,
            anonymous: field("RssAnon")?,
            mapped: field("RssFile")? + field("RssShmem")?,
        })
    }

    fn raise(&mut self, other: Self) {
        self.resident = self.resident.max(other.resident);
        self.anonymous = self.anonymous.max(other.anonymous);
        self.mapped = self.mapped.max(other.mapped);
    }
}

/// Settings whose memory budget is `budget` bytes, at least 20 MiB: an eighth of it for the cache, 16 MiB for each of the one or
/// two background threads, and the rest for memtables.
pub fn settings(budget: u64) -> Settings {
    let mut settings = Settings::default();
    settings.compaction.threads = if budget < 48 * MIB { 1 } else { 2 };
    settings.cache.capacity = budget / 8;
    let memtables = settings.limits.max_immutable_memtables as u64 + 1;
    let work = settings.memory_needed() - settings.cache.capacity - memtables * settings.memtable.size;
    settings.memtable.size = (budget - budget / 8 - work) / memtables;
    settings.compaction.target_run_size = settings.memtable.size;
    settings.wal.segment_size = settings.wal.segment_size.min(4 * settings.memtable.size);
    settings.limits.memory_budget = Some(budget);
    settings
}

/// Writes `bytes` of keys and values (of `value` bytes), each key twice, and compacts everything; the process's marks meanwhile, `None` where there
/// is no `/proc`. Then everything is read: mapped files that somebody reads stay resident as long as the system likes.
///
/// # Errors
/// Those of the database; `Corruption` if not all that was written is there.
pub fn load(dir: &Path, settings: &Settings, bytes: u64, value: usize) -> kodiak::Result<Option<Peak>> {
    let done = AtomicBool::new(false);
    let db = Db::open(dir, settings.clone())?;
    let table = db.create_table("t", TableSchema::key_value())?;
    let (written, peak) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = Peak::now();
            while !done.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(5));
                if let (Some(peak), Some(now)) = (&mut peak, Peak::now()) {
                    peak.raise(now);
                }
            }
            peak
        });
        let written = write(&db, &table, bytes, value);
        done.store(true, Ordering::Release);
        (written, watch.join().unwrap_or_default())
    });
    let (found, keys) = (table.scan(..)?.count() as u64, written?);
    if found != keys {
        let message = format!("{found} entries of {keys} are there");
        return Err(kodiak::Error::new(kodiak::ErrorKind::Corruption, message));
    }
    drop(table);
    db.close().map(|()| peak)
}

/// Returns the number of keys.
fn write(db: &Db, table: &Table, bytes: u64, value: usize) -> kodiak::Result<u64> {
    let mut value = vec![0u8; value.max(8)];
    let keys = (bytes / (16 + value.len() as u64) / 2).max(1);
    for n in 0..2 * keys {
        // In no order.
        let spread = (n % keys).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let key = [spread.rotate_left(31).to_be_bytes(), spread.to_be_bytes()].concat();
        value[..8].copy_from_slice(&n.to_be_bytes());
        table.put(key, &value)?;
    }
    db.compact()?;
    Ok(keys)
}
