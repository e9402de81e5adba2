//! How much memory a load takes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kodiak::{Db, Settings, TableSchema};

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

/// Settings whose memory budget is `budget` bytes, at least 48 MiB: two background threads, an eighth for the cache, and the
/// rest for memtables.
pub fn settings(budget: u64) -> Settings {
    let mut settings = Settings::default();
    settings.cache.capacity = budget / 8;
    let work = settings.memory_needed() - settings.cache.capacity - 3 * settings.memtable.size;
    settings.memtable.size = (budget - budget / 8 - work) / 3;
    settings.compaction.target_run_size = settings.memtable.size;
    settings.limits.memory_budget = Some(budget);
    settings
}

/// Writes `bytes` of keys and values, most of them twice, compacts everything, and reads it once; the process's marks
/// meanwhile. `None` where there is no `/proc`.
///
/// # Errors
/// Those of the database.
pub fn load(dir: &Path, settings: &Settings, bytes: u64) -> kodiak::Result<Option<Peak>> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
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
        let written = write(dir, settings, bytes);
        done.store(true, Ordering::Release);
        let peak = watch.join().unwrap_or_default();
        written.map(|()| peak)
    })
}

fn write(dir: &Path, settings: &Settings, bytes: u64) -> kodiak::Result<()> {
    let db = Db::open(dir, settings.clone())?;
    let table = db.create_table("t", TableSchema::key_value())?;
    let mut value = [0u8; 100];
    let count = bytes / (16 + value.len() as u64);
    for n in 0..count {
        // In no order, over half as many keys as there are writes.
        let spread = (n % (count / 2).max(1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let key = [spread.rotate_left(31).to_be_bytes(), spread.to_be_bytes()].concat();
        value[..8].copy_from_slice(&n.to_be_bytes());
        table.put(key, value)?;
    }
    db.compact()?;
    let found = table
        .scan(..)?
        .try_fold(0u64, |found, entry| entry.map(|_| found + 1))?;
    if found != (count / 2).max(1).min(count) {
        let message = format!("{found} entries of {} are there", count / 2);
        return Err(kodiak::Error::new(kodiak::ErrorKind::Corruption, message));
    }
    drop(table);
    db.close()
}
