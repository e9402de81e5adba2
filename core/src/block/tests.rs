use super::*;
use crate::entry::compare;

fn block(keys: &[Vec<u8>], seqs: Vec<i64>) -> ColumnBlock {
    let ops = vec![0; seqs.len()];
    ColumnBlock::new(
        BinaryArray::from_iter_values(keys),
        seqs.into(),
        ops.into(),
        Values::Absent,
    )
    .expect("columns")
}

#[test]
fn searches_agree_with_the_order_of_entries() {
    for prefix in ["", "p", "prefix of eight bytes and more/"] {
        let mut rows: Vec<(Vec<u8>, u64)> = Vec::new();
        for tail in [
            "",
            "\0",
            "a",
            "a\0",
            "ab",
            "abcdefgh",
            "abcdefgh\0",
            "abcdefghi",
            "b",
            "zzzzzzzzzzzzzzzzzz",
        ] {
            for seq in [9, 5, 2] {
                rows.push((format!("{prefix}{tail}").into_bytes(), seq));
            }
        }
        for len in 1..=rows.len() {
            let rows = &rows[rows.len() - len..];
            let keys: Vec<_> = rows.iter().map(|row| row.0.clone()).collect();
            let block = block(&keys, rows.iter().map(|row| row.1 as i64).collect());
            let probes = keys
                .iter()
                .cloned()
                .chain(["", "p", "prefix", "q", "\x7f"].map(|key| key.into()));
            for key in probes {
                for seq in [0, 2, 3, 5, 9, 10] {
                    let expected = rows.partition_point(|row| compare((&row.0, row.1), (&key, seq)).is_lt());
                    (0..expected).for_each(|row| {
                        assert_eq!(block.lower_bound_after(row, &key, seq), expected);
                    });
                    assert_eq!(
                        block.lower_bound(&key, seq),
                        expected,
                        "{} at {seq}",
                        key.escape_ascii()
                    );
                }
            }
        }
    }
}

#[test]
fn an_unsorted_block_is_searched_without_panic() {
    let keys = [b"shared/a".to_vec(), b"".to_vec(), b"zz".to_vec(), b"shared/b".to_vec()];
    let block = block(&keys, vec![1; 4]);
    for key in [&b"shared/a"[..], b"shared/b", b"", b"zz"] {
        assert!(block.lower_bound(key, 1) <= 4);
    }
}
