//! One part of the pool, with the policy of S3-FIFO (Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache
//! eviction", SOSP 2023): a newcomer waits in a small queue and enters the main one only if it is asked for meanwhile, or if it
//! was given up a short while ago; so what a scan touches once goes as it came. A hit changes one byte and no queue.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Key;
use crate::tree::piece::Piece;

/// The share of the small queue, one in so many bytes.
const SMALL: usize = 10;
/// A piece is asked for this often before more makes no difference.
const MOST: u8 = 3;

pub(super) fn hash(key: Key) -> u64 {
    let mixed = (key.1 ^ (u64::from(key.0) << 44)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}

/// For keys, which are few bits that vary: one multiplication mixes them well enough.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        let mixed = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = self.0.rotate_left(20) ^ number;
    }
}

type Map<V> = HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

#[derive(Debug)]
struct Kept {
    piece: Arc<Piece>,
    bytes: usize,
    asked: AtomicU8,
    in_main: bool,
    /// Tells it from an earlier piece of the same key that a queue still names.
    stamp: u64,
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    map: Map<Kept>,
    small: VecDeque<(Key, u64)>,
    main: VecDeque<(Key, u64)>,
    small_bytes: usize,
    main_bytes: usize,
    /// What the small queue gave up last, oldest first.
    ghosts: VecDeque<Key>,
    ghost_set: Map<()>,
    stamps: u64,
}

impl Shard {
    pub(super) fn bytes(&self) -> usize {
        self.small_bytes + self.main_bytes
    }

    /// A piece, and whether it was asked for as often as counts.
    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<(Arc<Piece>, bool)> {
        let kept = self.map.get(&key)?;
        let asked = kept.asked.load(Ordering::Relaxed);
        if asked < MOST {
            kept.asked.store(asked + 1, Ordering::Relaxed);
        }
        Some((kept.piece.clone(), asked == MOST))
    }

    /// Adds a piece unless it is there already; returns the bytes added.
    pub(super) fn insert(&mut self, key: Key, piece: Arc<Piece>, bytes: usize) -> usize {
        if self.map.contains_key(&key) {
            return 0;
        }
        self.stamps += 1;
        let in_main = self.ghost_set.remove(&key).is_some();
        let kept = Kept {
            piece,
            bytes,
            asked: AtomicU8::new(0),
            in_main,
            stamp: self.stamps,
        };
        self.map.insert(key, kept);
        self.enqueue(key, self.stamps, in_main, bytes);
        bytes
    }

    fn enqueue(&mut self, key: Key, stamp: u64, in_main: bool, bytes: usize) {
        if in_main {
            self.main.push_back((key, stamp));
            self.main_bytes += bytes;
        } else {
            self.small.push_back((key, stamp));
            self.small_bytes += bytes;
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> usize {
        let Some(kept) = self.map.remove(&key) else { return 0 };
        if kept.in_main {
            self.main_bytes -= kept.bytes;
        } else {
            self.small_bytes -= kept.bytes;
        }
        // Names of what is no longer there must not pile up in the queues.
        let (map, limit) = (&self.map, 2 * self.map.len() + 64);
        for queue in [&mut self.small, &mut self.main] {
            if queue.len() > limit {
                queue.retain(|(key, stamp)| map.get(key).is_some_and(|kept| kept.stamp == *stamp));
            }
        }
        kept.bytes
    }

    pub(super) fn remove_file(&mut self, file: u32) -> usize {
        let doomed: Vec<Key> = self.map.keys().filter(|key| key.0 == file).copied().collect();
        doomed.into_iter().map(|key| self.remove(key)).sum()
    }

    /// Gives up pieces until at most `limit` bytes are kept; false if pinned ones prevent that.
    pub(super) fn make_room(&mut self, limit: usize) -> bool {
        // Each piece may be passed by as often as it was asked for, and once more if it is pinned.
        let mut patience = (usize::from(MOST) + 2) * self.map.len() + 8;
        while self.bytes() > limit {
            patience = match patience.checked_sub(1) {
                Some(left) => left,
                None => return false,
            };
            let from_small = self.small_bytes * SMALL > limit || self.main_bytes == 0;
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let Some((key, stamp)) = queue.pop_front() else {
                return self.bytes() <= limit;
            };
            let Some(kept) = self.map.get_mut(&key).filter(|kept| kept.stamp == stamp) else {
                // The name of a piece that is gone, of which there may be many more than pieces.
                patience += 1;
                continue;
            };
            let asked = kept.asked.get_mut();
            let pinned = Arc::strong_count(&kept.piece) > 1;
            let stays = pinned || *asked > u8::from(from_small);
            if stays {
                // Pinned pieces that stayed in the small queue could fill it, and nothing would ever leave the main one.
                let promoted = from_small && (pinned || *asked > 1);
                if from_small {
                    *asked = 0;
                } else {
                    *asked = asked.saturating_sub(1);
                }
                let bytes = kept.bytes;
                if from_small {
                    self.small_bytes -= bytes;
                } else {
                    self.main_bytes -= bytes;
                }
                kept.in_main |= promoted;
                let in_main = kept.in_main;
                self.enqueue(key, stamp, in_main, bytes);
                continue;
            }
            self.remove(key);
            if from_small {
                self.remember(key);
            }
        }
        true
    }

    fn remember(&mut self, key: Key) {
        self.ghosts.push_back(key);
        self.ghost_set.insert(key, ());
        while self.ghosts.len() > self.map.len() + 8 {
            if let Some(oldest) = self.ghosts.pop_front() {
                self.ghost_set.remove(&oldest);
            }
        }
    }
}
