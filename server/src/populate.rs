//! The helper that populates record memory ahead of its use: the first touch of a huge page takes up to a millisecond, which
//! no tick should spend.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use windrow_memory::Populator;

use crate::shared::Shared;

/// Between two looks while a store grows, and while none does.
const REST_GROWING: Duration = Duration::from_millis(2);
/// See [`REST_GROWING`].
const REST: Duration = Duration::from_millis(20);
/// A store that grew is looked at closely for so many looks more.
const LOOKS_AFTER_GROWTH: u32 = 500;

/// Runs until the server ends.
pub(crate) fn run(shared: &Arc<Shared>, mut populators: Vec<Populator>) {
    let mut looks_left = 0u32;
    while !shared.ending.is_requested() {
        looks_left = looks_left.saturating_sub(1);
        for populator in &mut populators {
            match populator.populate_one() {
                Ok(true) => looks_left = LOOKS_AFTER_GROWTH,
                Ok(false) => {}
                // The shard meets the same when it needs the chunk, and refuses the write.
                Err(error) => tracing::debug!("cannot populate memory ahead: {error}"),
            }
        }
        thread::sleep(if looks_left > 0 { REST_GROWING } else { REST });
    }
}
