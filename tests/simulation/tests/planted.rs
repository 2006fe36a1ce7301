//! Mistakes in the code that ships: the simulator finds each within a bounded number of histories.

use std::panic::{AssertUnwindSafe, catch_unwind};

use windrow_simulation::history::run;
use windrow_simulation::trace::Trace;

/// Histories in which a mistake must be found; each was found within a tenth of it.
const SEEDS_MAX: u64 = 3_000;

/// Runs histories until one breaks; gives what it broke.
fn find(name: &str) {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..SEEDS_MAX).find_map(|seed| {
        // A wrong log may also break an assertion: found all the same.
        match catch_unwind(AssertUnwindSafe(|| run(seed, Trace::default()))) {
            Ok(Ok(_)) => None,
            Ok(Err(failure)) => Some(failure.to_string()),
            Err(_) => Some(format!("seed {seed}: an assertion")),
        }
    });
    std::panic::set_hook(silent);
    let found = found.unwrap_or_else(|| panic!("{name} was not found in {SEEDS_MAX} histories"));
    println!("{name}: {found}");
}

macro_rules! is_found {
    ($($test:ident: $krate:ident $mistake:ident;)*) => {
        $(
            #[test]
            fn $test() {
                use $krate::planted::{Mistake, plant};
                plant(Some(Mistake::$mistake));
                find(stringify!($mistake));
                plant(None);
            }
        )*
    };
}

is_found! {
    a_sync_that_is_not_done_is_found: windrow_storage SyncSkipped;
    a_full_segment_that_is_not_synced_is_found: windrow_storage FullSegmentNotSynced;
    a_frame_whose_body_is_not_checked_is_found: windrow_storage FrameBodyUnchecked;
    an_unsynced_tail_that_is_trusted_is_found: windrow_storage TailTrusted;
    a_manifest_that_is_not_synced_is_found: windrow_storage ManifestNotSynced;
    a_reply_that_leaves_before_its_sync_is_found: windrow_durability ReleasedBeforeSync;
    an_image_that_counts_too_early_is_found: windrow_durability PublishedEarly;
    a_replay_that_applies_what_a_record_has_seen_is_found: windrow_engine AppliedPositionIgnored;
    ids_that_a_replay_forgets_are_found: windrow_engine RememberedNotReplayed;
    rows_without_their_sequence_number_are_found: windrow_engine RowsUnnumbered;
    a_flush_that_a_crash_half_undoes_is_found: windrow_engine FlushedLayoutsKept;
    an_eviction_that_is_not_logged_is_found: windrow_engine EvictionNotLogged;
    an_eviction_that_is_not_replayed_is_found: windrow_engine EvictionNotReplayed;
    a_backfill_that_a_record_takes_twice_is_found: windrow_engine MergedAgain;
    a_backfill_that_brings_back_the_deleted_is_found: windrow_engine DeletionNotBackfilled;
    a_backfill_that_does_not_see_a_gap_is_found: windrow_engine GapNotBackfilled;
    a_backfill_of_what_is_too_far_ahead_is_found: windrow_engine AheadBackfilled;
    a_range_of_what_is_gone_is_found: windrow_window RangeOfWhatIsGone;
    an_event_after_a_past_t_is_found: windrow_window PastEdgeAsPresent;
}
