use kodiak_core::ErrorKind;
use kodiak_core::entry::compare;
use kodiak_core::format::BlockHandle;

use super::*;

fn builder() -> SidecarBuilder {
    let mut builder = SidecarBuilder {
        meta: SidecarMeta {
            database: 42,
            table: 3,
            run: 17,
            schema: 99,
            format: "parquet".to_owned(),
            compression: Compression::Zstd,
            data_bytes: 1000,
            entries: 30,
            tombstones: 2,
            merges: 1,
            range_deletes: 2,
            min_key: b"aa".to_vec(),
            max_key: b"zz".to_vec(),
            min_seq: 5,
            max_seq: 500,
            oldest_micros: 1_000_000,
            newest_micros: 2_000_000,
            properties: vec![("by".to_owned(), b"flush".to_vec())],
        },
        filter: Some(("bloom".to_owned(), Some(4), vec![1, 2, 3, 4, 5])),
        range_deletes: vec![
            RangeTombstone {
                start: b"m".to_vec(),
                end: b"n".to_vec(),
                seq: 7,
            },
            RangeTombstone {
                start: b"aa".to_vec(),
                end: b"b".to_vec(),
                seq: 8,
            },
        ],
        times: vec![(5, 1_000_000), (300, 1_999_999), (500, 1_999_990)],
        ..SidecarBuilder::default()
    };
    let part = |offset, len, crc| Part { offset, len, crc };
    builder.layout.blocks = vec![
        BlockHandle {
            rows: 10,
            parts: vec![part(8, 100, 1), part(400, 50, 2)],
        },
        BlockHandle {
            rows: 20,
            parts: vec![part(108, 200, u32::MAX)],
        },
    ];
    builder.layout.shared = vec![part(900, 100, 7)];
    builder.layout.file_bytes = 1000;
    builder.fences.push(b"aa", 9, b"ab");
    builder.fences.push(b"ab", 3, b"zz");
    builder
}

fn open(bytes: Vec<u8>) -> Result<Sidecar> {
    Sidecar::read(Buffer::from_vec(bytes))
}

#[test]
fn everything_comes_back() {
    let builder = builder();
    let bytes = builder.write().expect("consistent");
    let sidecar = open(bytes).expect("whole");
    sidecar.verify().expect("whole");
    assert_eq!(*sidecar.meta(), builder.meta);
    assert_eq!(sidecar.shared(), builder.layout.shared);
    let blocks = sidecar.blocks().expect("blocks");
    assert_eq!((blocks.len(), blocks.rows(1)), (2, 20));
    assert_eq!(blocks.handle(0), builder.layout.blocks[0]);
    assert_eq!(blocks.parts(1), builder.layout.blocks[1].parts);
    let filter = sidecar.filter().expect("filter").expect("there");
    assert_eq!(
        (filter.kind.as_str(), filter.prefix, filter.bytes.as_slice()),
        ("bloom", Some(4), &[1, 2, 3, 4, 5][..])
    );
    let range_deletes = sidecar.range_deletes().expect("range deletes");
    assert_eq!(
        range_deletes.iter().map(|tombstone| tombstone.seq).collect::<Vec<_>>(),
        [8, 7],
        "ascending by start"
    );
    assert_eq!(sidecar.times().expect("times"), builder.times);
    let fences = sidecar.fences().expect("fences");
    let mut key = Vec::new();
    fences.key(1, &mut key);
    assert_eq!(
        (key.as_slice(), fences.seq(1), fences.last_key()),
        (&b"ab"[..], 3, &b"zz"[..])
    );
}

#[test]
fn a_run_of_range_deletes_only_has_no_blocks() {
    let mut builder = SidecarBuilder::default();
    builder.range_deletes.push(RangeTombstone {
        start: b"a".to_vec(),
        end: b"b".to_vec(),
        seq: 1,
    });
    let sidecar = open(builder.write().expect("consistent")).expect("whole");
    sidecar.verify().expect("whole");
    assert!(sidecar.blocks().expect("none").is_empty());
    assert!(sidecar.filter().expect("none").is_none());
    let fences = sidecar.fences().expect("none");
    assert_eq!((fences.locate(b"a", 9), fences.blocks_of(b"a", 9)), (None, 0..0));
}

#[test]
fn every_truncation_and_flipped_bit_is_seen() {
    let whole = builder().write().expect("consistent");
    for cut in 0..whole.len() {
        assert!(open(whole[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    let crc = open(whole.clone()).expect("whole").crc();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let result = open(bytes).and_then(|sidecar| {
            assert_eq!(
                sidecar.crc(),
                crc,
                "bit {bit}: only what has a checksum of its own may pass so far"
            );
            sidecar.verify()
        });
        let kind = result.expect_err("damaged").kind();
        assert!(
            matches!(kind, ErrorKind::Corruption | ErrorKind::Unsupported),
            "bit {bit}"
        );
    }
}

#[test]
fn the_crc_tells_sidecars_apart() {
    let one = open(builder().write().expect("consistent")).expect("whole").crc();
    let mut other = builder();
    other.times[1].1 += 1;
    assert_ne!(open(other.write().expect("consistent")).expect("whole").crc(), one);
}

#[test]
fn contradictions_are_refused_when_writing_and_reading() {
    let mut short = builder();
    short.fences.push(b"zzz", 1, b"zzz");
    assert!(short.write().is_err(), "three fences for two blocks");
    let mut beyond = builder();
    beyond.layout.blocks[1].parts[0].len = 2000;
    let sidecar = open(beyond.write().expect("written")).expect("whole");
    assert_eq!(
        sidecar.blocks().expect_err("beyond the data file").kind(),
        ErrorKind::Corruption
    );
    let mut backward = builder();
    backward.times.reverse();
    assert!(backward.write().is_err(), "times must ascend");
}

/// The blocks of a made-up run: a small generator (xorshift) picks keys of one shape.
fn fences_of(entries: &[(Vec<u8>, SeqNo)], per_block: usize) -> Fences {
    let mut builder = FencesBuilder::default();
    for block in entries.chunks(per_block) {
        let (first, last) = (&block[0], &block[block.len() - 1]);
        builder.push(&first.0, first.1, &last.0);
    }
    let mut bytes = Vec::new();
    builder.encode(&mut bytes).expect("small");
    Fences::decode(Buffer::from_vec(bytes)).expect("whole")
}

fn entries(seed: u64, count: usize, key: impl Fn(u64) -> Vec<u8>) -> Vec<(Vec<u8>, SeqNo)> {
    let mut state = seed;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut entries: Vec<_> = (0..count).map(|_| (key(random()), random() % 50)).collect();
    entries.sort_by(|left, right| compare((&left.0, left.1), (&right.0, right.1)));
    entries.dedup();
    entries
}

#[test]
fn locating_agrees_with_a_search_through_all_entries() {
    type Shape = (&'static str, fn(u64) -> Vec<u8>);
    let shapes: [Shape; 7] = [
        ("uniform", |r| r.to_be_bytes().to_vec()),
        ("few keys", |r| vec![b'k', (r % 9) as u8]),
        ("one key", |_| b"only".to_vec()),
        ("shared prefix", |r| format!("user/{:08}", r % 100_000).into_bytes()),
        ("long equal prefixes", |r| {
            format!("x{:01}-aaaaaaaaaaaaaaaa{:05}", r % 3, (r >> 8) % 5_000).into_bytes()
        }),
        ("short and zeros", |r| vec![0; (r % 12) as usize]),
        ("skewed", |r| {
            ((r % 1000).pow(3) + (1 << 62) * (r % 17 / 16)).to_be_bytes().to_vec()
        }),
    ];
    for (name, shape) in shapes {
        for (seed, count, per_block) in [(1, 1, 1), (2, 7, 3), (3, 60, 1), (4, 700, 5), (5, 3000, 9)] {
            let all = entries(seed, count, shape);
            let fences = fences_of(&all, per_block);
            let mut probes: Vec<_> = entries(seed + 100, 200, shape);
            probes.extend(all.iter().step_by(1 + all.len() / 200).flat_map(|(key, seq)| {
                let longer = [key.as_slice(), b"\0"].concat();
                let shorter = key[..key.len().saturating_sub(1)].to_vec();
                [
                    (key.clone(), *seq),
                    (key.clone(), seq + 1),
                    (longer, 0),
                    (shorter, 60),
                    (key.clone(), 60),
                ]
            }));
            for (key, seq) in probes {
                let at = all.partition_point(|entry| compare((&entry.0, entry.1), (&key, seq)).is_le());
                let wanted = at.checked_sub(1).map(|last| last / per_block);
                assert_eq!(fences.locate(&key, seq), wanted, "{name} {key:?} {seq}");
                let first = all.partition_point(|entry| compare((&entry.0, entry.1), (&key, seq)).is_lt());
                let blocks = fences.blocks_of(&key, seq);
                assert!(blocks.len() <= 2);
                if all.get(first).is_some_and(|entry| entry.0 == key) {
                    assert!(
                        blocks.contains(&(first / per_block)),
                        "{name} {key:?} {seq}: {blocks:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_key_that_begins_a_block_is_looked_for_in_that_block_only() {
    let mut builder = FencesBuilder::default();
    builder.push(b"a", 5, b"b");
    builder.push(b"c", 7, b"d");
    builder.push(b"d", 2, b"e");
    let mut bytes = Vec::new();
    builder.encode(&mut bytes).expect("small");
    let fences = Fences::decode(Buffer::from_vec(bytes)).expect("whole");
    assert_eq!(fences.blocks_of(b"c", 100), 1..2);
    assert_eq!(
        fences.blocks_of(b"d", 100),
        1..3,
        "newer versions may end the block before"
    );
    assert_eq!(fences.blocks_of(b"d", 2), 2..3);
    assert_eq!(fences.blocks_of(b"b", 100), 0..1);
    assert_eq!(fences.blocks_of(b"0", 100), 0..0);
    assert_eq!(fences.blocks_of(b"z", 100), 2..3);
}

#[test]
fn the_bytes_are_as_documented() {
    let bytes = builder().write().expect("consistent");
    let hex =
        |range: std::ops::Range<usize>| -> String { bytes[range].iter().map(|byte| format!("{byte:02x}")).collect() };
    assert_eq!(hex(0..16), "4b4f4449414b53430100000000000000");
    // Fences: two, prefix "a", last key "zz", suffix lengths and sequence numbers, suffixes.
    assert_eq!(
        hex(64..78),
        "02016102".to_owned() + "7a7a" + "0112" + "0107" + "6162" + "0000"
    );
    // Blocks: two with three parts.
    assert_eq!(
        hex(128..156),
        "02030a02106401000000c80432020000001401ab05c801ffffffff00"
    );
    assert_eq!(bytes.len(), 594);
    assert_eq!(crc32fast::hash(&bytes), 2_362_592_630);
}

/// Two blocks of `(id: int32, list, name: utf8?)`.
fn with_statistics() -> SidecarBuilder {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, ListArray, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use kodiak_core::schema::TableSchema;

    let item = Arc::new(Field::new_list_field(DataType::Int8, true));
    let columns = Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("list", DataType::List(Arc::clone(&item)), true),
        Field::new("name", DataType::Utf8, true),
    ]);
    let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
    let mut builder = builder();
    builder.statistics = StatisticsBuilder::new(&schema);
    let blocks = [
        (vec![-1, 258], vec![Some("b"), Some("a")]),
        (vec![300, 301], vec![None, None]),
    ];
    for (ids, names) in blocks {
        let columns: [ArrayRef; 3] = [
            Arc::new(Int32Array::from(ids)),
            Arc::new(ListArray::new_null(Arc::clone(&item), 2)),
            Arc::new(StringArray::from(names)),
        ];
        builder.statistics.push(&columns).expect("columns of the schema");
    }
    builder
}

#[test]
fn statistics_are_as_documented_and_come_back() {
    let bytes = with_statistics().write().expect("consistent");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Two blocks and columns; column 0 with its bounds; column 2 with bounds in one block and two nulls in the other.
    let ids = "01047fffffff0480000102".to_owned() + "01048000012c048000012d";
    let names = "010161".to_owned() + "0162" + "04";
    let section = format!("020200{:02x}{ids}02{:02x}{names}", ids.len() / 2, names.len() / 2);
    assert!(hex.contains(&section), "{section} in {hex}");
    let sidecar = open(bytes).expect("whole");
    sidecar.verify().expect("whole");
    let statistics = sidecar.statistics().expect("whole").expect("there");
    let names = statistics.column(2).expect("whole").expect("has an order");
    assert_eq!(names[0].range, Some((b"a".to_vec(), b"b".to_vec())));
    assert_eq!((names[0].nulls, names[1].nulls, &names[1].range), (0, 2, &None));
    assert_eq!(statistics.column(1).expect("whole"), None, "lists have no order");
    // Older sidecars have none.
    let older = open(builder().write().expect("consistent")).expect("whole");
    assert!(older.statistics().expect("whole").is_none());
}

#[test]
fn damaged_statistics_are_seen() {
    let whole = with_statistics().write().expect("consistent");
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(open(bytes).and_then(|sidecar| sidecar.verify()).is_err(), "bit {bit}");
    }
    let mut fewer = with_statistics();
    fewer.layout.blocks.pop();
    fewer.fences = FencesBuilder::default();
    fewer.fences.push(b"aa", 9, b"ab");
    let sidecar = open(fewer.write().expect("written")).expect("whole");
    assert_eq!(
        sidecar.verify().expect_err("of two blocks").kind(),
        ErrorKind::Corruption
    );
}
