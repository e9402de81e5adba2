use kodiak_core::Op;
use kodiak_core::batch::Batch;

use super::*;

fn header() -> SegmentHeader {
    SegmentHeader {
        segment: 7,
        log_id: 0x0123_4567_89AB_CDEF,
        fresh: false,
        recycled: true,
        database: 0,
        previous: Some(Link {
            segment: 6,
            id: 0x1122_3344,
            end: 4096,
            synced: 1024,
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    let rows: Vec<String> = bytes
        .chunks(8)
        .map(|row| {
            row.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    rows.join("\n")
}

/// The bytes in `docs/formats/wal.md`, which must never change for version 1.
#[test]
fn the_bytes_are_those_that_the_documentation_shows() {
    let page = include_str!("../../../docs/formats/wal.md");
    let (head, seed) = header().encode();
    let mut batch = Batch::new();
    batch.push(2, Op::Put, b"key", b"value");
    let mut record = Vec::new();
    stage_record(
        &Hasher::new(),
        &mut record,
        RecordKind::Full,
        0,
        1,
        1_700_000_000_000_000,
        batch.payload(),
    );
    Identity::new(&header(), seed).seal(&mut record, 42, 64);
    for (what, bytes) in [("header", &head[..]), ("record", &record[..])] {
        let block = hex(bytes);
        assert!(
            page.contains(&block),
            "docs/formats/wal.md does not show the {what}:\n{block}"
        );
    }
}

#[test]
fn a_header_round_trips() {
    for header in [
        header(),
        SegmentHeader {
            fresh: true,
            recycled: false,
            previous: None,
            ..header()
        },
        SegmentHeader {
            database: 0x0A0B_0C0D_0E0F_1011,
            ..header()
        },
    ] {
        let (bytes, seed) = header.encode();
        assert_eq!(
            SegmentHeader::decode(&bytes, 7).expect("sound"),
            HeaderState::Valid(header, seed)
        );
        assert_eq!(
            SegmentHeader::decode(&bytes, 8).expect("sound"),
            HeaderState::Blank,
            "that of another segment"
        );
    }
    assert_eq!(SegmentHeader::decode(&[0; 64], 7).expect("sound"), HeaderState::Blank);
    assert_eq!(SegmentHeader::decode(&[], 7).expect("sound"), HeaderState::Blank);
    assert_eq!(
        SegmentHeader::decode(&header().encode().0[..63], 7).expect("sound"),
        HeaderState::Torn
    );
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let (mut bytes, _) = header().encode();
    for bit in 0..SEGMENT_HEADER * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            SegmentHeader::decode(&bytes, 7).expect("no newer version"),
            HeaderState::Damaged,
            "bit {bit}"
        );
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_newer_version_is_refused() {
    let (mut bytes, _) = header().encode();
    bytes[8] = 2;
    let crc = header_crc(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    let error = SegmentHeader::decode(&bytes, 7).expect_err("a newer version");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("version 2"), "{error}");
}

#[test]
fn only_twenty_digits_name_a_segment() {
    assert_eq!(segment_name(7), "00000000000000000007.wal");
    assert_eq!(segment_of_name("00000000000000000007.wal"), Some(7));
    for name in [
        "7.wal",
        "0000000000000000000a.wal",
        "00000000000000000007.spare",
        "+0000000000000000007.wal",
        ".wal",
    ] {
        assert_eq!(segment_of_name(name), None, "{name}");
    }
}

#[test]
fn a_record_of_another_identity_is_not_believed() {
    let (_, seed) = header().encode();
    let identity = Identity::new(&header(), seed);
    let mut record = Vec::new();
    stage_record(&Hasher::new(), &mut record, RecordKind::Full, 0, 0, 5, b"");
    identity.seal(&mut record, 1, 0);
    assert!(identity.check(&record).is_some());
    // The same half of the log id, another segment number.
    let other = SegmentHeader { segment: 8, ..header() };
    let (_, seed) = other.encode();
    assert!(Identity::new(&other, seed).check(&record).is_none());
}

#[test]
fn a_continued_checksum_is_that_of_the_whole() {
    let bytes: Vec<u8> = (0..200u8).map(|at| at.wrapping_mul(91)).collect();
    for split in 0..184 {
        let end = split + 16;
        let continued = continue_crc(crc32fast::hash(&bytes[..split]), &array(&bytes, split));
        assert_eq!(continued, crc32fast::hash(&bytes[..end]));
        let mut zeros = bytes[..end].to_vec();
        zeros[split..end - 2].fill(0);
        let continued = continue_with_zeros(crc32fast::hash(&bytes[..split]), [bytes[end - 2], bytes[end - 1]]);
        assert_eq!(continued, crc32fast::hash(&zeros));
    }
}

#[test]
fn a_checksum_of_zeros_is_changed_into_that_of_what_takes_their_place() {
    let zeros = crc32fast::hash(&[&[7; 33][..], &[0; 16]].concat());
    let words = [0, 1, 0x80, 0x1234, 0xFF00_0000_0000, u64::MAX >> 16, 1 << 63, u64::MAX];
    for (first, second) in words.iter().flat_map(|first| words.map(|second| (*first, second))) {
        let whole = [&[7; 33][..], &first.to_le_bytes(), &second.to_le_bytes()].concat();
        assert_eq!(
            zeros ^ change_of_end(first, second),
            crc32fast::hash(&whole),
            "{first:x} {second:x}"
        );
    }
}
