//! A fixed number of histories in every run of the tests, and those that once broke something.

use windrow_simulation::campaign::{command, seeds};
use windrow_simulation::coverage::{Coverage, Tried};
use windrow_simulation::history::run_plan;
use windrow_simulation::plan::Plan;
use windrow_simulation::trace::Trace;

/// Runs the histories of these seeds; gives what they tried.
fn hold(range: std::ops::Range<u64>) -> Coverage {
    let outcome = seeds(range, None, |_| ());
    if let Some(failure) = outcome.failure {
        panic!("{failure}\nto repeat: {}", command(failure.seed));
    }
    outcome.coverage
}

/// Runs a history as it was before there were commands of rows and what came with them.
fn hold_plain(seed: u64) {
    if let Err(failure) = run_plan(Plan::plain(seed), Trace::default()) {
        panic!("{failure}, of the plain plan");
    }
}

#[test]
fn five_hundred_histories_break_no_promise() {
    let coverage = hold(0..500);
    println!("{coverage}");
    let tried = [
        Tried::EventCounted,
        Tried::EventDuplicate,
        Tried::EventLate,
        Tried::Read,
        Tried::EntityDeleted,
        Tried::CatalogueChange,
        Tried::StartOtherShards,
        Tried::StartCrashed,
        Tried::StartRefused,
        Tried::ProcessCrash,
        Tried::PowerLoss,
        Tried::HaltInCall,
        Tried::OperationLost,
        Tried::WriteError,
        Tried::SyncLost,
        Tried::ShortWrite,
        Tried::ShortRead,
        Tried::Misconf,
        Tried::LogFailed,
        Tried::FlipInLog,
        Tried::FlipInImage,
        Tried::TornTail,
        Tried::ImagePublished,
        Tried::StartFromImage,
        Tried::SegmentRetired,
        Tried::RowsIssued,
        Tried::PastAsked,
        Tried::PastRefused,
        Tried::RangeRead,
        Tried::Flushed,
        Tried::Evicted,
        Tried::OutOfMemory,
        Tried::BackfillBegun,
        Tried::BackfillGap,
        Tried::Merged,
        Tried::MergeRefused,
        Tried::Filled,
    ];
    for what in tried {
        assert!(coverage.of(what) > 0, "{what:?} was never tried");
    }
}

#[test]
fn five_hundred_other_histories_break_no_promise() {
    hold(500..1_000);
}

#[test]
fn a_seed_decides_everything() {
    let (first, second) = (hold(7..12), hold(7..12));
    assert_eq!(first.to_string(), second.to_string());
}

/// The second walk over a torn tail met a sector that the disk failed to read: recovery panicked, and must say so.
#[test]
fn a_read_that_fails_while_a_tail_is_copied_is_an_error() {
    hold_plain(447);
}

/// The clock was set back between an ALTER and a start: events that the ALTER had found too old were missing in windows that ended
/// before it. No start's clock is before an ALTER that was settled.
#[test]
fn a_clock_that_is_set_back_after_an_alter_shows_no_window_without_its_events() {
    hold_plain(27_979);
}

/// An event that was ahead of its stream's clock made a backfill forget sketches of buckets which that clock still keeps.
#[test]
fn a_backfill_keeps_the_sketches_behind_an_event_that_is_ahead() {
    hold(86_663..86_664);
}

/// What a deletion leaves behind while its stream is filled counted as an entity when it went to make room, and not when that was replayed.
#[test]
fn what_a_deletion_has_left_is_no_entity_when_it_goes_to_make_room() {
    hold(66_433..66_434);
}
