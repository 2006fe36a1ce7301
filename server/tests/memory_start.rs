//! What a start takes is told apart from record memory. A process of its own, since it looks at its resident memory.

mod client;

use client::{Client, resident_bytes, start, wait_until};

/// Each shard populates chunks from its start on, so a count that races with it is wrong in one start of a few.
const STARTS: usize = 12;
/// Half a chunk: one that is counted twice, or not at all, shows.
const SLACK_BYTES: u64 = 1 << 20;

#[test]
fn no_chunk_of_records_counts_as_what_the_start_took() {
    for _ in 0..STARTS {
        let directory = tempfile::tempdir().unwrap();
        let running = start(directory.path(), 2);
        let mut client = Client::connect(&running);
        let mut before = (0, 0);
        wait_until("the report is what is resident", || {
            let stats = client.map("MEMORY STATS");
            let now = (stats["total.allocated"], resident_bytes());
            // Populating ahead has ended: two looks see the same.
            let is_still = now == std::mem::replace(&mut before, now) && stats["chunks.populated-ahead"] > 0;
            is_still && now.0.abs_diff(now.1) <= SLACK_BYTES
        });
        running.shutdown().unwrap();
    }
}
