//! The helpers that bring the rest of an image into memory while the server already serves from it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use windrow_memory::Adopter;

use crate::affinity;
use crate::server::abort_on_panic;
use crate::shared::Shared;

/// What shards do comes first, but what commands wait for is fetched one chunk at a time, so this is not put off for long.
const NICENESS: i32 = 5;

/// Helpers: each waits for the disk while the others make memory and look at checksums, and the disk never waits. More would
/// only be more chunks in front of one that a command waits for.
pub(crate) const HELPERS: usize = 3;

/// While somebody waits for a chunk, helpers look so often whether it is there, before they begin further ones.
const GIVE_WAY: Duration = Duration::from_micros(50);

/// So often it is looked at the end whether shards are done with what they adopt themselves.
const LAST_CHUNKS: Duration = Duration::from_millis(1);

/// Runs until every chunk of every shard is memory, or the server ends.
pub(crate) fn run(shared: &Arc<Shared>, adopters: &[Adopter]) {
    let pending: usize = adopters.iter().map(Adopter::pending).sum();
    if pending == 0 {
        return;
    }
    let bytes: usize = adopters.iter().map(Adopter::pending_bytes).sum();
    let began = Instant::now();
    thread::scope(|scope| {
        for helper in 1..HELPERS {
            let help = || abort_on_panic(|| adopt_all(shared, adopters));
            // The others do without, where the system has no thread to give.
            if let Err(error) =
                thread::Builder::new().name(format!("adopt-{helper}")).spawn_scoped(scope, help)
            {
                tracing::debug!("no thread to adopt chunks: {error}");
            }
        }
        // Here, too: a panic would be told only after the others are through.
        abort_on_panic(|| adopt_all(shared, adopters));
    });
    // Shards may still be at chunks that they met themselves.
    while adopters.iter().any(|adopter| adopter.pending() > 0) && !shared.ending.is_requested() {
        thread::sleep(LAST_CHUNKS);
    }
    if adopters.iter().all(|adopter| adopter.pending() == 0) {
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!(
            "{pending} chunks of the image are in memory after {seconds:.2} s, {:.2} GB/s",
            bytes as f64 / seconds / 1e9
        );
    }
}

fn adopt_all(shared: &Shared, adopters: &[Adopter]) {
    affinity::be_nice(NICENESS);
    let mut left = adopters.to_vec();
    // A chunk of each shard in turn: commands meet those of all shards.
    while !left.is_empty() && !shared.ending.is_requested() {
        left.retain_mut(|adopter| {
            give_way(shared, adopters);
            adopter.adopt_next().is_some()
        });
    }
}

/// Leaves disk and processor to whoever cannot go on before a chunk is there, and to the thread that brings it. Each wait ends
/// with a chunk that is there, so this never holds the whole up.
fn give_way(shared: &Shared, adopters: &[Adopter]) {
    while adopters.iter().any(Adopter::is_somebody_waiting) && !shared.ending.is_requested() {
        thread::sleep(GIVE_WAY);
    }
}
