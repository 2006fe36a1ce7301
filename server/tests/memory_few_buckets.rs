//! What an entity with few events takes. A process of its own, since it looks at its resident memory.

mod client;

use client::{Client, start};

/// Entities, of as many buckets each.
const ENTITIES: usize = 500_000;
const BUCKETS: usize = 3;
/// Resident bytes that one may take, its key and its part of the index included.
const ENTITY_BYTES_MAX: u64 = 200;

#[test]
fn an_entity_of_three_buckets_takes_at_most_200_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path(), 1);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count CLOCK EVENT");
    let before_bytes = client.resident_in_use_bytes();
    for bucket in 1..=BUCKETS {
        client.add_events("s", 0..ENTITIES, &(bucket * 60_000).to_string());
    }
    assert_eq!(client.number("DBSIZE"), ENTITIES as u64);
    assert_eq!(client.reply("WINDOW.GET user:0000007 s count:1h"), "*1\r\n:3\r\n");
    let bytes = client.resident_in_use_bytes() - before_bytes;
    let stats = client.map("MEMORY STATS");
    assert!(
        bytes <= ENTITIES as u64 * ENTITY_BYTES_MAX,
        "{} bytes an entity: {stats:?}",
        bytes / ENTITIES as u64
    );
    running.shutdown().unwrap();
}
