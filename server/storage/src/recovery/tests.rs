//! Starting, stopping and starting again, without faults; crashes are in `crash_tests`.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::MemDisk;

const DIR: &str = "/data";
const HASH_KEY: u128 = 77;

/// What replay gave: (shard, first position, time, operations) for each group.
type History = Vec<(u16, Position, i64, Vec<u8>)>;

fn options() -> StorageOptions {
    StorageOptions { segment_bytes: 8192, first_segment_bytes: 8192, ..StorageOptions::new(1) }
}

fn replay(disk: &MemDisk) -> Result<(Replayed, History), StorageError> {
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options(), HASH_KEY)?;
    let mut history = History::new();
    let replayed = recovery.replay(
        &mut |frame| {
            assert_eq!(frame.ops.len(), frame.op_count as usize * 10);
            history.push((frame.shard, frame.first, frame.now_ms, frame.ops.to_vec()));
            Ok(())
        },
        &mut |_, _| {},
    )?;
    Ok((replayed, history))
}

#[test]
fn what_was_appended_is_replayed_in_order_after_a_process_crash() {
    let disk = MemDisk::new();
    let mut expected = History::new();
    for shards in [2_u16, 3, 1] {
        let (replayed, history) = replay(&disk).unwrap();
        assert_eq!(history, expected);
        let mut started = replayed.start(shards, 5).unwrap();
        for round in 0..4_u8 {
            for (log, syncer) in &mut started.logs {
                let ops = vec![round; 500];
                let last = log.append(i64::from(round), 50, &ops).unwrap();
                let first = Position::new(last.epoch(), last.ops() - 49).unwrap();
                expected.push((log.shard(), first, i64::from(round), ops));
                if round == 1 {
                    syncer.step().unwrap();
                }
            }
        }
        expected.sort_by_key(|group| (group.1.epoch(), group.0, group.1));
    }
    let (replayed, history) = replay(&disk).unwrap();
    assert_eq!(history, expected);
    assert_eq!(replayed.report().operations, 6 * 200);
    assert_eq!(replayed.report().latest_now_ms, Some(3));
    assert!(replayed.report().torn.is_empty());
}
