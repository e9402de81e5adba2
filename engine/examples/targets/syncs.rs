//! Commits in mode `full`.

use std::fs::File;
use std::path::Path;

use kodiak::core::storage::{LOG_BLOCK, Storage};
use kodiak::{Error, LocalStorage, Result, Settings, SyncMode};

use crate::{fill, io, median, once, open, report};

const ROUNDS: usize = 61;

/// As direct writes want them to lie.
#[repr(align(4096))]
struct Blocks([[u8; LOG_BLOCK]; 2]);

/// Prints how long commits in mode `full` take, beside plain file operations.
pub fn measure(dir: &Path, count: u64) -> Result<()> {
    let count = (count / 2).clamp(1, 300);
    let path = dir.join("overwritten");
    std::fs::write(&path, vec![0; 4 << 20]).map_err(io)?;
    let file = File::options().write(true).open(&path).map_err(io)?;
    file.sync_all().map_err(io)?;
    let mut growing = File::create(dir.join("growing")).map_err(io)?;
    // Zeros that are still on their way would be waited for by the first writes, and unwritten blocks changed with each.
    let direct = LocalStorage::new().create_log(&dir.join("direct"), 4 << 20)?;
    direct.sync_data()?;
    let blocks = Blocks([[1; LOG_BLOCK]; 2]);
    let kinds = [("mapped", true), ("segment", true), ("mapped", false)];
    let named = |(kind, awake): (&str, bool)| format!("{kind}{}", if awake { "" } else { " asleep" });
    let mut tables = Vec::new();
    for (kind, awake) in kinds {
        let mut settings = Settings::default();
        settings.wal.sync = SyncMode::Full;
        settings.wal.kind = kind.to_owned();
        settings.wal.keep_awake = awake;
        tables.push(open(dir, &format!("full-{kind}-{awake}"), &settings)?);
    }
    let (mut raw, mut naive, mut alone) = (vec![], vec![], vec![]);
    let (mut one, mut eight) = (kinds.map(|_| vec![]), kinds.map(|_| vec![]));
    // Turn by turn, and the median of each: a disk has its moods, and the luckiest moment of one says nothing of another's.
    for _ in 0..ROUNDS {
        raw.push(once(count, || {
            (0..count).try_for_each(|n| {
                std::os::unix::fs::FileExt::write_all_at(&file, &[1; 160], n * 160).map_err(io)?;
                file.sync_data().map_err(io)
            })
        })?);
        naive.push(once(count, || {
            (0..count).try_for_each(|_| {
                std::io::Write::write_all(&mut growing, &[1; 160]).map_err(io)?;
                growing.sync_data().map_err(io)
            })
        })?);
        alone.push(once(count, || {
            (0..count).try_for_each(|n| {
                let block = LOG_BLOCK as u64;
                let (from, to) = (n * 160 / block, ((n + 1) * 160).div_ceil(block));
                let bytes = &blocks.0.as_flattened()[..(to - from) as usize * LOG_BLOCK];
                direct.write_durably(from * block, bytes)
            })
        })?);
        for (kind, (_, table)) in tables.iter().enumerate() {
            one[kind].push(once(count, || fill(table, 0, count))?);
        }
        for (kind, (_, table)) in tables.iter().enumerate() {
            eight[kind].push(once(8 * count, || {
                std::thread::scope(|scope| {
                    let running: Vec<_> = (0..8).map(|_| scope.spawn(|| fill(table, 0, count))).collect();
                    running
                        .into_iter()
                        .try_for_each(|thread| thread.join().map_err(|_| Error::corruption("a panic"))?)
                })
            })?);
        }
    }
    let (raw, naive, alone) = (median(raw), median(naive), median(alone));
    let (one, eight) = (one.map(median), eight.map(median));
    report(
        "durable writes of blocks, no log / naive growing file",
        alone,
        naive,
        "-",
    );
    for (kind, name) in kinds.map(named).iter().enumerate() {
        let of = |yardstick: &str| format!("full mode, {name} / {yardstick}");
        let aim = |aim: &'static str| if kinds[kind].1 { aim } else { "-" };
        report(&of("overwrite + fdatasync"), one[kind], raw, aim("<= 1.15x"));
        report(&of("naive growing file"), one[kind], naive, aim("<= 0.67x"));
        report(
            &format!("full mode, {name}, eight writers / one"),
            eight[kind],
            one[kind],
            aim("<= 0.33x"),
        );
    }
    Ok(())
}
