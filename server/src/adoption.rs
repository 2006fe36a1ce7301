//! The helpers that bring the rest of an image into memory while the server already serves from it.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use windrow_memory::{Adopter, CHUNK_BYTES};

use crate::affinity;
use crate::server::abort_on_panic;
use crate::shared::Shared;

/// What shards do comes first, but what commands wait for is fetched one chunk at a time, so this is not put off for long.
const NICENESS: i32 = 5;

/// Helpers: each waits for the disk while the others make memory and look at checksums, and the disk never waits. More would
/// only be more chunks in front of one that a command waits for.
const HELPERS: usize = 3;

/// Runs until every chunk of every shard is memory, or the server ends.
pub(crate) fn run(shared: &Arc<Shared>, adopters: &[Adopter]) {
    let pending: usize = adopters.iter().map(Adopter::pending).sum();
    if pending == 0 {
        return;
    }
    let began = Instant::now();
    thread::scope(|scope| {
        for helper in 1..HELPERS {
            let help = || abort_on_panic(|| adopt_all(shared, adopters.to_vec()));
            // The others do without, where the system has no thread to give.
            if let Err(error) =
                thread::Builder::new().name(format!("adopt-{helper}")).spawn_scoped(scope, help)
            {
                tracing::debug!("no thread to adopt chunks: {error}");
            }
        }
        adopt_all(shared, adopters.to_vec());
    });
    if adopters.iter().all(|adopter| adopter.pending() == 0) {
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!(
            "{pending} chunks of the image are in memory after {seconds:.2} s, {:.2} GB/s",
            (pending * CHUNK_BYTES) as f64 / seconds / 1e9
        );
    }
}

fn adopt_all(shared: &Shared, mut adopters: Vec<Adopter>) {
    affinity::be_nice(NICENESS);
    // A chunk of each shard in turn: commands meet those of all shards.
    while !adopters.is_empty() && !shared.ending.is_requested() {
        adopters.retain_mut(|adopter| adopter.adopt_next().is_some());
    }
}
