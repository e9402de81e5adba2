use super::*;
use crate::data::block::Tag;
use crate::data::builder::Builder;

fn piece(bytes: usize) -> Arc<Piece> {
    let mut builder = Builder::new(b"", bytes);
    builder.push(Tag::Put, b"key", &vec![1; bytes]);
    Arc::new(Piece::Leaf(builder.finish()))
}

#[test]
fn the_budget_holds_whatever_comes() {
    let pool = BufferPool::new(100_000);
    let tally = Tally::new(&pool);
    let mut charges = Vec::new();
    for round in 0..500u64 {
        pool.insert((0, round), &piece(1 + (round as usize * 7919) % 3000));
        if round % 7 == 0 {
            charges.push(Charge::new(&tally, 1000));
        }
        if charges.len() > 60 {
            charges.clear();
        }
        assert!(pool.used() <= pool.budget(), "{} bytes", pool.used());
    }
    charges.clear();
    assert!(pool.peak() <= pool.budget() && pool.dirty() == 0);
    pool.remove_file(0);
    assert_eq!(pool.used(), 0);
}

#[test]
fn what_is_used_again_outlives_a_scan() {
    let pool = BufferPool::new(200_000);
    for page in 0..50 {
        pool.insert((0, page), &piece(1000));
    }
    for _ in 0..3 {
        for page in 0..50 {
            pool.get((0, page)).expect("there is room for all");
        }
    }
    for page in 1000..6000 {
        pool.insert((0, page), &piece(1000));
    }
    let left = (0..50).filter(|&page| pool.get((0, page)).is_some()).count();
    assert!(left >= 45, "only {left} of 50 are left after a scan");
}

#[test]
fn a_pinned_piece_stays_and_what_finds_no_room_is_not_kept() {
    let pool = BufferPool::new(20_000);
    let pinned: Vec<_> = (0..4).map(|_| piece(4000)).collect();
    for (page, piece) in (0..).zip(&pinned) {
        pool.insert((0, page), piece);
    }
    pool.insert((0, 10), &piece(8000));
    assert!(pool.get((0, 10)).is_none());
    assert!((0..4).all(|page| pool.get((0, page)).is_some()));
    drop(pinned);
    pool.insert((0, 10), &piece(8000));
    assert!(pool.get((0, 10)).is_some());
    assert!(pool.used() <= pool.budget());
}

#[test]
fn pinned_newcomers_do_not_keep_others_from_being_given_up() {
    let pool = BufferPool::new(200_000);
    for page in 0..100 {
        pool.insert((0, page), &piece(3000));
        for _ in 0..3 {
            pool.get((0, page));
        }
    }
    let pinned: Vec<_> = (0..15).map(|_| piece(3000)).collect();
    for (page, piece) in (1000..).zip(&pinned) {
        pool.insert((0, page), piece);
    }
    for page in 2000..2100 {
        pool.insert((0, page), &piece(3000));
        assert!(pool.get((0, page)).is_some(), "no room was made for piece {page}");
    }
}
