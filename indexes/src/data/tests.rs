use kodiak_core::varint::Reader;

use super::block::{Block, Tag};
use super::buffer::Buffer;
use super::builder::Builder;
use super::keys::{Heads, Keys};
use super::ranges::Ranges;
use crate::store::account::Account;
use crate::store::piece::{HEADER, Kind};
use crate::store::slot::{Names, SLOT, Slot};
use crate::store::space::Space;
use crate::tree::piece::{Node, Piece};

/// Small, seeded random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

fn block(prefix: &[u8], count: usize, step: usize) -> Block {
    let mut builder = Builder::new(prefix, 0);
    for number in 0..count {
        let key = [prefix, &format!("{:05}", number * step).into_bytes()].concat();
        let tag = [Tag::Put, Tag::Delete, Tag::Upserts][number % 3];
        builder.push(tag, &key, &vec![number as u8; number * 37 % 300]);
    }
    builder.finish()
}

#[test]
fn searches_agree_with_a_linear_one() {
    for prefix in [&b""[..], b"pre", b"a longer prefix of all keys "] {
        for count in [0, 1, 7, 8, 9, 100] {
            let block = block(prefix, count, 3);
            let mut probes: Vec<Vec<u8>> = (0..count * 3 + 2)
                .map(|number| [prefix, &format!("{number:05}").into_bytes()].concat())
                .collect();
            probes.extend([vec![], vec![0xFF; 40], prefix.to_vec(), b"pr".to_vec()]);
            for probe in probes {
                let expected = (0..count).filter(|&index| block.key(index) < probe).count();
                assert_eq!(block.lower_bound(&probe), expected);
                assert_eq!(block.lower_bound_in(0..count, &probe), expected);
                for from in [0, expected / 2, expected] {
                    assert_eq!(block.lower_bound_from(from, &probe), expected, "from {from}");
                }
                check_find(&block, &probe);
            }
        }
    }
}

/// Compares the searches for one key with a linear one.
fn check_find(block: &Block, probe: &[u8]) {
    let expected = (0..block.len()).find(|&index| block.key(index) == probe);
    assert_eq!(
        block.find_entry(probe).map(|entry| entry.value),
        expected.map(|index| block.value(index)),
        "{}",
        probe.escape_ascii()
    );
}

#[test]
fn keys_are_found_whatever_their_spread() {
    let spreads: [fn(u64) -> Vec<u8>; 6] = [
        |n| n.to_be_bytes().to_vec(),
        |n| (n * n * n * n).to_be_bytes().to_vec(),
        |n| (u64::MAX - 1000 / (n + 1)).to_be_bytes().to_vec(),
        |n| (n / 3).to_be_bytes().iter().copied().chain([n as u8]).collect(),
        |n| format!("all of them begin alike {n:04}").into_bytes(),
        |n| vec![b'k'; n as usize],
    ];
    for spread in spreads {
        for count in [1, 2, 8, 9, 17, 300] {
            let mut keys: Vec<Vec<u8>> = (0..count).map(spread).collect();
            keys.sort();
            keys.dedup();
            let mut builder = Builder::new(b"", 0);
            for (number, key) in keys.iter().enumerate() {
                builder.push(Tag::Put, key, &vec![number as u8; number % 200]);
            }
            let block = builder.finish();
            for key in &keys {
                check_find(&block, key);
                check_find(&block, &[key.as_slice(), b"\0"].concat());
                check_find(&block, &key[..key.len().saturating_sub(1)]);
                let bound = keys.partition_point(|other| other < key);
                assert_eq!(block.lower_bound(key), bound);
            }
            check_find(&block, b"");
            check_find(&block, &[0xFF; 12]);
        }
    }
}

#[test]
fn numbers_are_counted_whatever_their_spread() {
    let mut random = Random(5);
    let spreads: [fn(u64, u64) -> u64; 5] = [
        |_, any| any,
        |n, _| n,
        |n, _| n * n * n * n * n,
        |_, any| any % 7,
        |n, any| if n % 9 == 0 { any } else { u64::MAX - any % 1000 },
    ];
    for spread in spreads {
        for count in [0, 1, 2, 3, 7, 8, 9, 31, 64, 300, 1000] {
            let any = |random: &mut Random| (random.below(1 << 32) as u64) << 32 | random.below(1 << 32) as u64;
            let mut numbers: Vec<u64> = (0..count).map(|n| spread(n, any(&mut random))).collect();
            numbers.sort_unstable();
            let ends = (
                numbers.first().copied().unwrap_or(0),
                numbers.last().copied().unwrap_or(0),
            );
            let near = |&number: &u64| [number.saturating_sub(1), number, number.saturating_add(1)];
            let wanted: Vec<u64> = numbers
                .iter()
                .flat_map(near)
                .chain([0, 1, u64::MAX, any(&mut random)])
                .collect();
            for wanted in wanted {
                let found = super::guide::lower_bound(numbers.len(), ends, wanted, |index| numbers[index]);
                let expected = numbers.partition_point(|&number| number < wanted);
                assert_eq!(found, expected, "{wanted} among {numbers:?}");
            }
        }
    }
}

#[test]
fn a_stretch_is_copied_whatever_the_two_prefixes() {
    let source = block(b"common/", 50, 1);
    for prefix in [&b""[..], b"com", b"common/", b"common/0000"] {
        let mut builder = Builder::new(prefix, 0);
        let range = if prefix.len() > 7 { 0..10 } else { 5..40 };
        builder.extend(&source, range.clone());
        let copy = builder.finish();
        for (at, index) in range.enumerate() {
            assert_eq!((copy.key(at), copy.value(at)), (source.key(index), source.value(index)));
        }
    }
}

#[test]
fn routes_with_and_without_heads_agree() {
    let mut random = Random(1);
    for round in 0..200 {
        let prefix = &b"a common start"[..random.below(14)];
        let mut all: Vec<Vec<u8>> = (0..random.below(60))
            .map(|_| [prefix, &vec![b'a' + random.below(3) as u8; random.below(14)]].concat())
            .collect();
        all.sort();
        all.dedup();
        let mut keys = Keys::default();
        // Inserted in two turns, so that places in the middle are taken too.
        for key in all.iter().step_by(2) {
            keys.push(key);
        }
        for (index, key) in all.iter().enumerate().skip(1).step_by(2) {
            keys.insert(index, key);
        }
        let heads = Heads::new(&keys);
        let probes = all.iter().cloned().chain([
            vec![],
            vec![0xFF],
            prefix.to_vec(),
            b"a commoz".to_vec(),
            [prefix, b"b"].concat(),
        ]);
        for probe in probes {
            let expected = all.iter().filter(|key| **key <= probe).count();
            assert_eq!(
                (keys.route(&probe), heads.route(|| &keys, &probe)),
                (expected, expected),
                "round {round}"
            );
            assert_eq!(
                keys.route_before(&probe),
                all.iter().filter(|key| **key < probe).count()
            );
        }
        if !all.is_empty() {
            let gone = random.below(all.len());
            keys.remove(gone);
            all.remove(gone);
        }
        let mut bytes = Vec::new();
        keys.encode(&mut bytes);
        let decoded = Keys::decode(&mut Reader::new(&bytes)).expect("its own bytes");
        assert!((0..keys.len()).all(|index| decoded.get(index) == all[index]) && decoded.len() == all.len());
    }
}

/// A body as it is written, and what reads it and then uses it.
type Case = (Vec<u8>, fn(Vec<u8>));

fn bodies() -> Vec<Case> {
    let mut ranges = Ranges::default();
    ranges.add(b"pre1", Some(b"pre2"));
    ranges.add(b"pre5", None);
    let mut buffer = Buffer {
        ranges,
        points: block(b"pre", 30, 2),
    };
    let mut keys = Keys::default();
    [b"pre1", b"pre2", b"pre4"].iter().for_each(|key| keys.push(*key));
    let ptr = crate::store::piece::Ptr {
        page: 77,
        len: 5000,
        crc: 1,
        birth: 3,
    };
    let child = crate::tree::piece::ChildPtr {
        ptr,
        buffer: Some(crate::tree::piece::BufferPtr { ptr, bytes: 9 }),
    };
    let node = Node::encode(&keys, &[child; 4]);
    vec![
        (block(b"pre", 60, 2).piece().to_vec(), |bytes| {
            if let Ok((block, _)) = Block::parse(bytes) {
                let _ = (
                    block.lower_bound(b"pre00100"),
                    block.is_sorted(),
                    block.find_entry(b"pre00003"),
                );
                (0..block.len())
                    .for_each(|index| _ = (block.key(index), block.entry(index), block.bytes_of(index..index + 1)));
            }
        }),
        (buffer.with_piece(|piece| piece.clone()), |bytes| {
            if let Ok(buffer) = Buffer::parse(bytes) {
                let _ = (buffer.get(b"pre00004"), buffer.ranges.covers(b"pre6"), buffer.bytes());
            }
        }),
        (node, |bytes| {
            let header = crate::store::piece::Header {
                kind: Kind::Node,
                version: 1,
                level: 2,
            };
            if let Ok(Piece::Node(node)) = Piece::parse(header, bytes) {
                let at = node.route(b"pre3");
                let _ = (node.children[at], node.keys.route_before(b"x"));
            }
        }),
    ]
}

#[test]
fn malformed_bodies_are_refused_or_harmless_even_with_a_right_checksum() {
    let mut random = Random(5);
    for (body, read) in bodies() {
        for cut in HEADER..body.len() {
            read(body[..cut].to_vec());
        }
        for _ in 0..20_000 {
            let mut damaged = body.clone();
            for _ in 0..1 + random.below(3) {
                let at = HEADER + random.below(body.len() - HEADER);
                damaged[at] = [random.below(256) as u8, 0, 0xFF, damaged[at] ^ 1][random.below(4)];
            }
            read(damaged);
        }
    }
}

#[test]
fn malformed_accounts_and_slots_are_refused_or_harmless() {
    let mut space = Space {
        end: 40,
        generation: 4,
        ..Space::default()
    };
    for page in [5, 9, 20] {
        space
            .free
            .add(crate::store::space::Extent { page, pages: 2 })
            .expect("apart");
    }
    let ptr = crate::store::piece::Ptr {
        page: 30,
        len: 5000,
        crc: 1,
        birth: 3,
    };
    let root = crate::store::space::RootInfo {
        top: Some(ptr),
        level: 1,
    };
    space
        .dying
        .push((crate::store::space::Extent { page: 12, pages: 1 }, 2));
    let written = crate::store::piece::Ptr {
        page: space.allocate(3).page,
        len: 9000,
        crc: 77,
        birth: 5,
    };
    space.note(&written);
    let mut random = Random(6);
    for previous in [None, Some(&ptr)] {
        let mut body = Vec::new();
        let entry = crate::store::account::Entry {
            generation: 5,
            roots: &[(3, root), (5, root)],
            previous,
            checked: true,
        };
        crate::store::account::encode(&mut body, &space, entry, &[]).expect("a sound state");
        let header = crate::store::piece::Header {
            kind: Kind::Space,
            version: 2,
            level: 0,
        };
        assert_eq!(Account::decode(header, &body).expect("as written").written, [written]);
        for round in 0..20_000 {
            let mut damaged = body.clone();
            let at = random.below(body.len());
            damaged[at] = [random.below(256) as u8, 0, 0xFF, damaged[at] ^ 1][random.below(4)];
            if round < body.len() {
                damaged.truncate(round);
            }
            if let Ok(account) = Account::decode(header, &damaged) {
                let mut state = Space {
                    end: 2,
                    ..Space::default()
                };
                let _ = account.replay(&mut state, crate::store::space::Extent { page: 7, pages: 1 });
            }
        }
    }
    let slot = Slot {
        generation: 5,
        names: Names::default(),
        account: ptr,
        synced: false,
    };
    let bytes = slot.encode();
    assert_eq!(Slot::decode(&bytes).ok(), Some(slot));
    for at in 0..SLOT {
        for bit in 0..8 {
            let mut damaged = bytes;
            damaged[at] ^= 1 << bit;
            assert!(Slot::decode(&damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
}
