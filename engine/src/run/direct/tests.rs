use super::*;

/// A block whose arrays lie in one buffer, as in a mapped file.
fn block(keys: &[&[u8]], seqs: &[i64]) -> (DirectBlock, Buffer) {
    let values: Vec<Vec<u8>> = (0..keys.len()).map(|row| format!("value {row}").into_bytes()).collect();
    let mut file: Vec<u8> = vec![0xEE; 64];
    let mut place = |bytes: &[u8]| {
        file.resize(file.len().next_multiple_of(64), 0);
        let at = file.len();
        file.extend_from_slice(bytes);
        at
    };
    let offsets = |rows: &mut dyn Iterator<Item = usize>| {
        let mut end = 0i32;
        let mut out = 0i32.to_le_bytes().to_vec();
        for len in rows {
            end += len as i32;
            out.extend_from_slice(&end.to_le_bytes());
        }
        out
    };
    let n = keys.len();
    let key_offsets = place(&offsets(&mut keys.iter().map(|key| key.len())));
    let key_data = place(&keys.concat());
    let value_offsets = place(&offsets(&mut values.iter().map(Vec::len)));
    let value_data = place(&values.concat());
    let seq = place(&seqs.iter().flat_map(|seq| seq.to_le_bytes()).collect::<Vec<_>>());
    let ops = place(&vec![0; n]);
    let mut aligned = arrow::buffer::MutableBuffer::new(file.len());
    aligned.extend_from_slice(&file);
    let map: Buffer = aligned.into();
    let binary = |offsets: usize, data: usize, len: usize| {
        BinaryArray::new(
            OffsetBuffer::new(scalar(&map, offsets, n + 1)),
            map.slice_with_length(data, len),
            None,
        )
    };
    let columns = ColumnBlock::new(
        binary(key_offsets, key_data, keys.concat().len()),
        scalar(&map, seq, n),
        scalar(&map, ops, n),
        Values::Binary(binary(value_offsets, value_data, values.concat().len())),
    )
    .expect("valid");
    (DirectBlock::new(&columns, &map).expect("in the map"), map)
}

fn check(keys: &[&[u8]], seqs: &[i64], probes: &[&[u8]]) {
    let (direct, map) = block(keys, seqs);
    let columns = direct.columns(&map);
    for probe in probes.iter().chain(keys) {
        for seq in 0..12 {
            let found = direct.find(&map, probe, seq, true).expect("find");
            let expected = (0..keys.len()).find(|&row| keys[row] == *probe && seqs[row] as u64 <= seq);
            assert_eq!(found.as_ref().map(|found| found.row), expected, "{probe:?} at {seq}");
            if let (Some(found), Some(row)) = (found, expected) {
                assert_eq!(found.value, columns.value(row).expect("value"));
            }
        }
    }
}

#[test]
fn keys_are_found_whatever_their_spread() {
    let even: Vec<[u8; 8]> = (0..300u64).map(|n| (n * 7).to_be_bytes()).collect();
    let even: Vec<&[u8]> = even.iter().map(|key| key.as_slice()).collect();
    check(
        &even,
        &vec![3; even.len()],
        &[b"", b"zzz", &8u64.to_be_bytes(), &[0; 9]],
    );
    let skewed: Vec<Vec<u8>> = (0..200u32)
        .map(|n| format!("user{:09}", n * n * n).into_bytes())
        .collect();
    let mut skewed: Vec<&[u8]> = skewed.iter().map(Vec::as_slice).collect();
    skewed.sort_unstable();
    check(
        &skewed,
        &vec![3; skewed.len()],
        &[b"us", b"user", b"user000000009", b"uses"],
    );
    check(
        &[b"", b"\0", b"\0\0", b"a", b"ab", b"abcdefghi", b"abcdefghij"],
        &[5; 7],
        &[b"abcdefgh", b"b"],
    );
}

#[test]
fn the_newest_version_that_is_old_enough_is_found() {
    let keys: Vec<&[u8]> = vec![b"a", b"k", b"k", b"k", b"z"];
    check(&keys, &[4, 9, 6, 2, 4], &[b"b", b"l"]);
    check(&[b"only"], &[4], &[b"onl", b"onlx", b"onlyy"]);
}
