//! Walks over all records.

use super::{insert, store};
use crate::{
    handle::{CHUNK_BYTES, Handle},
    reclaim::Domain,
    store::{Cursor, SCAN_ROWS_MAX, Scan, Store},
};
use std::collections::HashMap;

pub(super) fn walk(store: &Store, rows_max: usize, mut between: impl FnMut(&[Handle])) -> Vec<Handle> {
    let mut scan = Scan::default();
    let mut rows = Vec::new();
    let mut cursor = Some(Cursor::START);
    while let Some(from) = cursor {
        cursor = store.scan(&mut scan, from, rows_max);
        assert!(scan.rows().len() <= rows_max.min(SCAN_ROWS_MAX));
        if let Some(next) = cursor {
            assert!(next.to_number() > from.to_number(), "a walk goes on");
            assert_eq!(Cursor::from_number(next.to_number()), cursor);
        }
        rows.extend_from_slice(scan.rows());
        between(scan.rows());
    }
    rows
}

#[test]
fn walk_visits_every_record_once_in_the_order_of_hashes() {
    let (mut store, participant) = store(32 * CHUNK_BYTES);
    let mut all: Vec<Handle> = (0..30_000u32).map(|n| insert(&mut store, 1, &n.to_be_bytes(), 0)).collect();
    for rows_max in [7, 100, 10_000] {
        let rows = walk(&store, rows_max, |_| ());
        assert!(rows.is_sorted_by_key(|row| store.record(*row).hash() >> 34));
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        all.sort_unstable();
        assert_eq!(sorted, all);
    }
    let mut scan = Scan::default();
    let reader = store.reader();
    let (mut cursor, mut rows) = (Some(Cursor::START), 0);
    while let Some(from) = cursor {
        cursor = reader.scan(&participant, &mut scan, from, 256).unwrap();
        rows += scan.rows().len();
    }
    assert_eq!(rows, all.len());
}

#[test]
fn a_slice_that_is_cut_goes_on_with_the_row_that_comes_next() {
    let (mut store, _participant) = store(32 * CHUNK_BYTES);
    (0..3_000u32).for_each(|n| {
        insert(&mut store, 1, &n.to_be_bytes(), 0);
    });
    let whole = walk(&store, 10_000, |_| ());
    for taken in [1, 8, 60] {
        let (mut scan, mut cursor, mut rows) = (Scan::default(), Some(Cursor::START), Vec::<Handle>::new());
        while let Some(from) = cursor {
            cursor = store.scan(&mut scan, from, 100);
            let cut = scan.cursor_before(taken);
            assert_eq!(cut.is_some(), scan.rows().len() > taken, "no two hashes begin the same here");
            rows.extend(scan.rows().iter().take(taken));
            cursor = cut.or(cursor);
        }
        assert_eq!(rows, whole, "{taken} rows at a time");
    }
}

#[test]
fn walk_visits_what_stays_exactly_once_while_the_index_splits() {
    let (domain, _none) = Domain::with_participants(0);
    let store = std::cell::RefCell::new(Store::new(64 * CHUNK_BYTES, &domain).unwrap());
    for n in 0..3_000u32 {
        insert(&mut store.borrow_mut(), 1, &n.to_be_bytes(), u64::from(n));
    }
    let segments = store.borrow().usage().index_segments;
    let mut seen = HashMap::new();
    let mut scan = Scan::default();
    let (mut cursor, mut next) = (Some(Cursor::START), 10_000u32);
    while let Some(from) = cursor {
        cursor = store.borrow().scan(&mut scan, from, 50);
        for row in scan.rows() {
            let store = store.borrow();
            let record = store.record(*row);
            if record.get(0) < 3_000 {
                *seen.entry(record.get(0)).or_insert(0) += 1;
            }
        }
        for _ in 0..200 {
            insert(&mut store.borrow_mut(), 1, &next.to_be_bytes(), u64::from(next));
            next += 1;
        }
    }
    assert!(store.borrow().usage().index_segments > segments + 2, "the test wants splits");
    assert_eq!(seen.len(), 3_000);
    assert!(seen.values().all(|times| *times == 1));
}

#[test]
fn cursor_of_a_number_that_is_none_is_refused() {
    assert_eq!(Cursor::from_number(0), Some(Cursor::START));
    assert_eq!(Cursor::from_number(1 << 30), None);
}
