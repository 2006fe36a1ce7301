//! A lowered `maxmemory` gives memory back to the system. A process of its own, since it looks at its resident memory.

mod client;

use client::{Client, resident_bytes, start, wait_until};

/// Entities before `maxmemory` is lowered.
const ENTITIES: usize = 600_000;
/// What the records may take then.
const LOWERED_BYTES: u64 = 32 << 20;
/// Chunks are taken whole, for records of several sizes and for the index, by each shard.
const SLACK_BYTES: u64 = 8 << 20;

#[test]
fn a_lowered_maxmemory_gives_memory_back_and_the_report_stays_true() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path(), 2);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count CLOCK EVENT");
    client.ask("STREAM.CREATE t WINDOWS 1h@1m AGGREGATE count CLOCK EVENT");
    let before_bytes = client.resident_in_use_bytes();
    for bucket in 1..=3 {
        client.add_events("s", 0..ENTITIES, &(bucket * 60_000).to_string());
    }
    let full_bytes = client.resident_in_use_bytes();
    assert!(
        full_bytes - before_bytes > 2 * LOWERED_BYTES,
        "{full_bytes} bytes are in use, {before_bytes} before"
    );

    client.ask("CONFIG SET maxmemory-policy allkeys-lru");
    client.ask(&format!("CONFIG SET maxmemory {LOWERED_BYTES}"));
    wait_until("resident memory follows maxmemory", || {
        client.map("MEMORY STATS")["chunks.taken"] <= LOWERED_BYTES
            && resident_bytes().saturating_sub(before_bytes) <= LOWERED_BYTES + SLACK_BYTES
    });
    let entities = client.number("DBSIZE");
    assert!(entities > 10_000 && entities < ENTITIES as u64, "{entities} entities stayed");
    is_report_true(&mut client);

    // Raised again, all of it can be used again, and what is dropped goes back too.
    client.ask("CONFIG SET maxmemory 0");
    client.add_events("t", 0..ENTITIES, "60000");
    let stayed = client.number("DBSIZE") - ENTITIES as u64;
    assert!(stayed > 0 && stayed <= entities, "{stayed} of {entities} entities stayed");
    is_report_true(&mut client);
    client.ask("STREAM.DROP s");
    client.ask("STREAM.DROP t");
    wait_until("memory of dropped streams goes back", || {
        // The index keeps its segments, and a reserve of chunks stays populated.
        resident_bytes().saturating_sub(before_bytes) <= LOWERED_BYTES + 6 * SLACK_BYTES
    });
    is_report_true(&mut client);
    client.ask("STREAM.CREATE s WINDOWS all AGGREGATE count");
    client.add_events("s", 0..1_000, "*");
    assert_eq!(client.number("DBSIZE"), 1_000);
    running.shutdown().unwrap();
}

fn is_report_true(client: &mut Client) {
    // Looked at until both hold still: memory comes and goes a chunk at a time.
    wait_until("the report is within five percent of what is resident", || {
        let stats = client.map("MEMORY STATS");
        stats["total.allocated"].abs_diff(resident_bytes()) <= resident_bytes() / 20
    });
}
