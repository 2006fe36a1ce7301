//! The memory that the server reports is the memory that the process takes. A process of its own, since it looks at that.

mod client;

use client::{Client, resident_bytes, start};

/// Entities of each of two streams.
const ENTITIES: usize = 500_000;
/// Rows of one EVENT.MADD.
const ROWS: usize = 500;

#[test]
fn reported_memory_is_within_five_percent_of_what_is_resident() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path(), 2);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE narrow WINDOWS 1h@1m AGGREGATE count");
    client.ask("STREAM.CREATE wide FIELDS v FLOAT WINDOWS 5m@5s 1h@1m AGGREGATE count sum(v) max(v)");
    for from in (0..ENTITIES).step_by(ROWS) {
        let mut narrow = "EVENT.MADD narrow FIELDS 0 EVENTS".to_owned();
        let mut wide = "EVENT.MADD wide FIELDS 1 v EVENTS".to_owned();
        for entity in from..from + ROWS {
            narrow += &format!(" user:{entity} *");
            wide += &format!(" user:{entity} * 1.5");
        }
        client.ask(&narrow);
        client.ask(&wide);
    }
    let stats = client.map("MEMORY STATS");
    let resident_bytes = resident_bytes();
    let total_bytes = stats["total.allocated"];
    assert!(
        total_bytes.abs_diff(resident_bytes) <= resident_bytes / 20,
        "{total_bytes} bytes are reported, {resident_bytes} are resident: {stats:?}"
    );
    assert!(stats["peak.allocated"] >= total_bytes);
    assert_eq!(stats["keys.count"], 2 * ENTITIES as u64);

    // By stream: the same number wherever it is shown, and no more than all.
    let mut all_bytes = 0;
    for stream in ["narrow", "wide"] {
        let (bytes, entities) =
            (stats[&format!("stream.{stream}.bytes")], stats[&format!("stream.{stream}.entities")]);
        let info = client.map(&format!("STREAM.INFO {stream}"));
        assert_eq!((info["bytes"], info["entities"]), (bytes, ENTITIES as u64));
        assert_eq!(entities, ENTITIES as u64);
        // Names have one length from here on, so that all records of a stream have one size.
        let entity_bytes = client.number(&format!("MEMORY USAGE user:100000 {stream}"));
        assert!(
            bytes.abs_diff(entity_bytes * entities) <= bytes / 10,
            "{stream}: {bytes}, {entity_bytes} each"
        );
        all_bytes += bytes;
    }
    assert_eq!(stats["dataset.bytes"], all_bytes);
    let one = client.number("MEMORY USAGE user:7");
    let parts =
        client.number("MEMORY USAGE user:7 narrow") + client.number("MEMORY USAGE user:7 wide SAMPLES 5");
    assert_eq!(one, parts);
    let in_use = all_bytes + stats["index.bytes"] + stats["pool.bytes"];
    assert!(in_use <= stats["chunks.taken"], "{stats:?}");
    assert!(in_use >= stats["chunks.taken"] * 8 / 10, "{stats:?}");
    assert_eq!(client.reply("MEMORY USAGE nobody"), "$-1\r\n");
    assert!(client.reply("MEMORY USAGE user:7 nostream").starts_with("-ERR no such stream"));

    let info = client.reply("INFO memory");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let used: u64 = line.parse().unwrap();
    assert!(used.abs_diff(total_bytes) <= total_bytes / 50, "INFO says {used}, MEMORY STATS {total_bytes}");
    running.shutdown().unwrap();
}
