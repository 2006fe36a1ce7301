//! A fixed number of histories in every run of the tests, and those that once broke something.

use windrow_simulation::campaign::{command, seeds};
use windrow_simulation::coverage::{Coverage, Tried};

/// Runs the histories of these seeds; gives what they tried.
fn hold(range: std::ops::Range<u64>) -> Coverage {
    let outcome = seeds(range, None, |_| ());
    if let Some(failure) = outcome.failure {
        panic!("{failure}\nto repeat: {}", command(failure.seed));
    }
    outcome.coverage
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
