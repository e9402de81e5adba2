//! Keys, values that can be checked from their key, and distributions. Everything is a function of a number, so that no run
//! keeps a model in memory.

/// Bytes of a key.
pub const KEY_LEN: usize = 16;

/// A key.
pub type Key = [u8; KEY_LEN];

/// Mixes all bits of `x`: a bijection (the finaliser of splitmix64).
#[inline]
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The key number `id`: uniform over all 16-byte strings, so that ascending numbers are a random order.
#[inline]
pub fn random_key(id: u64) -> Key {
    join(mix(id), mix(id ^ 0x9e37_79b9_7f4a_7c15))
}

/// The key number `id` in ascending order.
#[inline]
pub fn sequential_key(id: u64) -> Key {
    join(id, mix(id))
}

#[inline]
fn join(first: u64, second: u64) -> Key {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

#[inline]
fn word_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The `index`th word of what belongs to a key in a version.
#[inline]
fn content(key: &[u8], version: u64, index: usize) -> u64 {
    let seed = word_at(key, 0) ^ word_at(key, 8).rotate_left(32);
    mix(seed.wrapping_add((version << 16) + index as u64))
}

/// Writes the value of `key` in `version` into `value`: the version, noise up to the middle, then that half once more, so that
/// compression halves it. A value has at least 32 bytes.
#[inline]
pub fn fill_value(key: &[u8], version: u64, value: &mut [u8]) {
    let half = value.len() / 2;
    value[..8].copy_from_slice(&version.to_le_bytes());
    let mut at = 8;
    while at < half {
        let len = (half - at).min(8);
        let word = content(key, version, at / 8).to_le_bytes();
        value[at..at + len].copy_from_slice(&word[..len]);
        at += 8;
    }
    let (first, second) = value.split_at_mut(half);
    second[..half].copy_from_slice(first);
    if let Some(last) = second.get_mut(half) {
        *last = 0;
    }
}

/// The version of a value, if its length, its first noise and its end are those of the key.
#[inline]
pub fn check_value(key: &[u8], value: &[u8], len: usize) -> Option<u64> {
    if key.len() != KEY_LEN || value.len() != len {
        return None;
    }
    let half = len / 2;
    let version = word_at(value, 0);
    let matches = word_at(value, 8) == content(key, version, 1)
        && word_at(value, 2 * half - 8) == word_at(value, half - 8)
        && word_at(value, half) == version;
    matches.then_some(version)
}

/// A small, fast, seeded generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5851_f42d_4c95_7f2d))
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`, which is not 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `[0, 1)`.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `count` numbers below `n`.
    pub fn many_below(&mut self, count: u64, n: u64) -> Vec<u32> {
        (0..count).map(|_| self.below(n) as u32).collect()
    }

    /// Puts `items` in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

/// Zipf's distribution with exponent 0.99, as YCSB has it (Gray et al., "Quickly generating billion-record synthetic
/// databases", SIGMOD 1994).
#[derive(Debug)]
pub struct Zipf {
    n: u64,
    alpha: f64,
    zeta: f64,
    eta: f64,
    second: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    /// Over `0..n`, 0 being the most frequent; `n` is not 0.
    pub fn new(n: u64) -> Self {
        let zeta: f64 = (1..=n).map(|rank| (rank as f64).powf(-THETA)).sum();
        let second = 1.0 + 0.5f64.powf(THETA);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - THETA)) / (1.0 - second / zeta);
        Self {
            n,
            alpha: 1.0 / (1.0 - THETA),
            zeta,
            eta,
            second,
        }
    }

    /// The next rank.
    pub fn rank(&self, rng: &mut Rng) -> u64 {
        let unit = rng.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.second {
            return 1.min(self.n - 1);
        }
        let rank = self.n as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.n - 1)
    }

    /// The next number, the frequent ones being scattered over `0..n`.
    pub fn scattered(&self, rng: &mut Rng) -> u64 {
        mix(self.rank(rng)) % self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_recognised_by_its_own_key_only() {
        for len in [32, 33, 100, 101, 1024] {
            let (key, other) = (random_key(1), random_key(2));
            let mut value = vec![0xee; len];
            fill_value(&key, 7, &mut value);
            assert_eq!(check_value(&key, &value, len), Some(7));
            assert_eq!(check_value(&other, &value, len), None);
            assert_eq!(check_value(&key, &value, len + 1), None);
            assert_eq!(check_value(&key[1..], &value, len), None);
            let mut changed = value.clone();
            changed[9] ^= 1;
            assert_eq!(check_value(&key, &changed, len), None);
            let mut changed = value.clone();
            changed[0] ^= 1;
            assert_eq!(
                check_value(&key, &changed, len),
                None,
                "another version has other noise"
            );
        }
    }

    #[test]
    fn zipf_prefers_low_ranks_and_stays_in_range() {
        let (zipf, mut rng) = (Zipf::new(1000), Rng::new(1));
        let ranks: Vec<u64> = (0..10_000).map(|_| zipf.rank(&mut rng)).collect();
        assert!(ranks.iter().all(|rank| *rank < 1000));
        let share = |below: u64| ranks.iter().filter(|rank| **rank < below).count() as f64 / 10_000.0;
        assert!(
            (0.10..0.18).contains(&share(1)),
            "rank 0 has 1/zeta(1000) = 13 %, not {}",
            share(1)
        );
        assert!(share(100) > 0.6);
        let one = Zipf::new(1);
        assert_eq!(one.rank(&mut rng), 0);
    }
}
