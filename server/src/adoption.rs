//! The helper that brings the rest of an image into memory while the server already serves from it.

use std::sync::Arc;
use std::time::Instant;

use windrow_memory::Adopter;

use crate::affinity;
use crate::shared::Shared;

/// What shards do comes first, but what commands wait for is fetched one chunk at a time, so this is not put off for long.
const NICENESS: i32 = 5;

/// Runs until every chunk of every shard is memory, or the server ends.
pub(crate) fn run(shared: &Arc<Shared>, mut adopters: Vec<Adopter>) {
    let pending: usize = adopters.iter().map(Adopter::pending).sum();
    if pending == 0 {
        return;
    }
    affinity::be_nice(NICENESS);
    let began = Instant::now();
    // A chunk of each shard in turn: commands meet those of all shards.
    while !adopters.is_empty() && !shared.ending.is_requested() {
        adopters.retain_mut(|adopter| adopter.adopt_next().is_some());
    }
    if adopters.is_empty() {
        tracing::info!(
            "{pending} chunks of the image are in memory after {:.1} s",
            began.elapsed().as_secs_f64()
        );
    }
}
