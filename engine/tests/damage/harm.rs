//! Kinds of damage.

use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

use super::example::{DIR, Files};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    Missing,
    Emptied,
    Cut,
    Longer,
    FlipHead,
    FlipAny,
    FlipTail,
    ZeroHead,
    ZeroAny,
    ZeroTail,
    /// Another file of the kind in its place.
    Swapped,
    /// The file of the same name of another database in its place.
    Foreign,
    /// A file that nobody knows beside it.
    ExtraFile,
    /// A directory that nobody knows beside it.
    ExtraDirectory,
    /// A directory in the place of a file, a file in that of a directory.
    OtherKind,
}

pub const HARMS: [Harm; 15] = [
    Harm::Missing,
    Harm::Emptied,
    Harm::Cut,
    Harm::Longer,
    Harm::FlipHead,
    Harm::FlipAny,
    Harm::FlipTail,
    Harm::ZeroHead,
    Harm::ZeroAny,
    Harm::ZeroTail,
    Harm::Swapped,
    Harm::Foreign,
    Harm::ExtraFile,
    Harm::ExtraDirectory,
    Harm::OtherKind,
];

const SECTOR: usize = 512;

pub fn shuffle<T>(items: &mut [T], rng: &mut StdRng) {
    for at in (1..items.len()).rev() {
        items.swap(at, rng.random_range(0..=at));
    }
}

impl Harm {
    /// The damaged files; `None` where that cannot be, or changes nothing.
    pub fn to(self, files: &Files, target: &Path, others: &Files, rng: &mut StdRng) -> Option<Files> {
        let mut damaged = files.clone();
        match (&files[target], self) {
            (_, Self::ExtraFile | Self::ExtraDirectory) => {
                let names = [
                    "notes.txt",
                    "0000000077.feather",
                    "000077",
                    "0000000001.tmp",
                    "x.wal",
                    ".hidden",
                ];
                let path = target.with_file_name(names[rng.random_range(0..names.len())]);
                let bytes = (self == Self::ExtraFile).then(|| b"what is this?".to_vec());
                damaged.entry(path).or_insert(bytes);
            }
            (None, Self::Missing) => damaged.retain(|path, _| !path.starts_with(target)),
            (None, Self::Emptied) => damaged.retain(|path, _| !path.starts_with(target) || path == target),
            (None, Self::OtherKind) => {
                damaged.retain(|path, _| !path.starts_with(target));
                damaged.insert(target.to_owned(), Some(b"a file".to_vec()));
            }
            (None, _) => return None,
            (Some(_), Self::Missing) => drop(damaged.remove(target)),
            (Some(_), Self::OtherKind) => drop(damaged.insert(target.to_owned(), None)),
            (Some(_), Self::Foreign) => drop(damaged.insert(target.to_owned(), others.get(target)?.clone())),
            (Some(_), Self::Swapped) => {
                let alike = |path: &&PathBuf| *path != target && kind_of(path) == kind_of(target);
                let alike: Vec<&PathBuf> = files.keys().filter(alike).collect();
                let other = alike.get(rng.random_range(0..alike.len().max(1)))?;
                damaged.insert(target.to_owned(), files[*other].clone());
            }
            (Some(bytes), _) => {
                let mut bytes = bytes.clone();
                self.to_bytes(&mut bytes, rng);
                damaged.insert(target.to_owned(), Some(bytes));
            }
        }
        (damaged != *files).then_some(damaged)
    }

    fn to_bytes(self, bytes: &mut Vec<u8>, rng: &mut StdRng) {
        // Of a file that ends in zeros, what is written.
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let len = used.max(1);
        let part = match self {
            Self::FlipHead | Self::ZeroHead => 0..len.min(SECTOR),
            Self::FlipTail | Self::ZeroTail => len.saturating_sub(SECTOR)..len,
            _ => 0..len,
        };
        let at = rng.random_range(part);
        match self {
            Self::Emptied => bytes.clear(),
            Self::Cut => bytes.truncate(at),
            Self::Longer => bytes.extend((0..100).map(|_| rng.random::<u8>())),
            Self::FlipHead | Self::FlipAny | Self::FlipTail => {
                for byte in bytes.iter_mut().skip(at).take(rng.random_range(1..4)) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
            _ => {
                let from = at / SECTOR * SECTOR;
                bytes.iter_mut().skip(from).take(SECTOR).for_each(|byte| *byte = 0);
            }
        }
    }
}

/// What a file is, as far as its name tells.
fn kind_of(path: &Path) -> (usize, String) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let kind = match name.split_once('.') {
        Some((_, extension)) => extension.to_owned(),
        None => name.split('-').next().unwrap_or_default().to_owned(),
    };
    let depth = path.strip_prefix(DIR).map_or(0, |inside| inside.components().count());
    (depth, kind)
}
