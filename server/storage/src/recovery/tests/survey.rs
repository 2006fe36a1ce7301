//! Surveys: what a directory says when nothing starts on it.

use super::image::{A_SEGMENT, long_log, publish, segment_file};
use super::*;

fn survey(disk: &MemDisk, reading: Reading) -> (Vec<LogSurvey>, Vec<(u32, u64)>) {
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options(), HASH_KEY).unwrap();
    let (mut logs, mut came) = (Vec::new(), Vec::new());
    recovery
        .survey(
            reading,
            &mut |frame| {
                came.push((frame.first.epoch(), frame.first.ops()));
                Ok(())
            },
            &mut |_, _| {},
            &mut |log| logs.push(log),
        )
        .unwrap();
    (logs, came)
}

#[test]
fn a_survey_reads_what_is_there_and_changes_nothing() {
    let disk = MemDisk::new();
    drop(long_log(&disk, None, 20, 3));
    let mut started = long_log(&disk, None, 2 * A_SEGMENT, 0);
    let from = publish(&mut started, A_SEGMENT + 1, A_SEGMENT + 1);
    drop(started);
    let before = disk.list(Path::new(LOG_DIR)).unwrap();
    let (logs, came) = survey(&disk, Reading::default());
    assert_eq!(came.len() as u64, 20 + 2 * A_SEGMENT, "what the image holds is read too");
    let summary = |logs: &[LogSurvey]| -> Vec<_> {
        logs.iter().map(|log| (log.epoch, log.first_ops, log.last_ops, log.report.operations)).collect()
    };
    assert_eq!(summary(&logs), [(1, Some(1), 20, 20), (2, Some(1), 2 * A_SEGMENT, 2 * A_SEGMENT)]);
    assert!(!logs.iter().any(LogSurvey::is_damaged));
    assert_eq!(disk.list(Path::new(LOG_DIR)).unwrap(), before);

    // Retention has been there.
    for gone in [segment_file(1, 0), Path::new(LOG_DIR).join("00000002-0000-tail.wal"), segment_file(2, 0)] {
        disk.remove(&gone).unwrap();
    }
    let (logs, _) = survey(&disk, Reading::default());
    assert_eq!(summary(&logs)[1], (2, Some(A_SEGMENT + 1), 2 * A_SEGMENT, A_SEGMENT));
    assert!(!logs.iter().any(LogSurvey::is_damaged), "{logs:?}");
    assert_eq!(from.starts, [A_SEGMENT + 1]);
}

#[test]
fn a_survey_from_a_position_gives_what_is_at_and_behind_it() {
    let disk = MemDisk::new();
    drop(long_log(&disk, None, 20, 0));
    drop(long_log(&disk, None, 20, 0));
    for (epoch, ops) in [(1, 0), (1, 1), (1, 20), (2, 7), (2, 20), (2, 21), (9, 1)] {
        let from = Some(Position::new(epoch, ops).unwrap());
        let (_, came) = survey(&disk, Reading { from, shard: None });
        let all = (1..=2).flat_map(|epoch| (1..=20).map(move |ops| (epoch, ops)));
        let expected: Vec<_> = all.filter(|op| *op >= (epoch, ops)).collect();
        assert_eq!(came, expected, "from {epoch}:{ops}");
    }
    assert_eq!(survey(&disk, Reading { from: None, shard: Some(1) }), (vec![], vec![]));
}

#[test]
fn a_survey_tells_damage_that_a_start_needs_from_damage_that_it_gets_by_without() {
    let disk = MemDisk::new();
    drop(long_log(&disk, None, 20, 0));
    let mut started = long_log(&disk, None, 20, 2);
    publish(&mut started, 10, 12);
    drop(started);
    let at = |operation: u64| SEGMENT_HEADER_BYTES + operation * 80 + 60;
    disk.corrupt(&segment_file(1, 0), at(3), |byte| *byte ^= 1).unwrap();
    disk.corrupt(&segment_file(2, 0), at(3), |byte| *byte ^= 1).unwrap();
    // The statement stands before the two that are not stated durable.
    disk.corrupt(&segment_file(2, 0), at(19), |byte| *byte ^= 1).unwrap();
    let (logs, came) = survey(&disk, Reading::default());
    let counts = |log: &LogSurvey| (log.report.older.len(), log.report.given_up.len(), log.report.torn.len());
    assert_eq!(logs.iter().map(counts).collect::<Vec<_>>(), [(1, 0, 0), (1, 0, 1)]);
    assert!(logs.iter().all(LogSurvey::is_damaged));
    assert!(came.contains(&(1, 3)) && !came.contains(&(1, 4)) && came.contains(&(1, 5)), "{came:?}");
    disk.corrupt(&segment_file(2, 0), at(14), |byte| *byte ^= 1).unwrap();
    let (logs, _) = survey(&disk, Reading::default());
    assert_eq!(logs.iter().map(counts).collect::<Vec<_>>(), [(1, 0, 0), (1, 1, 0)]);
    assert_eq!((logs[1].report.given_up[0].readable_ops, logs[1].last_ops), (14, 14));
}
