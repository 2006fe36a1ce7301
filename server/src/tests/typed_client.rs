//! What the typed client makes of this server's replies.

use windrow_client::{
    Client, Clock, Event, FieldType, Protocol, SkewPolicy, StreamAlteration, StreamDefinition,
};

use super::harness::start;

/// Polls of a backfill's progress; it takes a few milliseconds.
const POLLS_MAX: usize = 6_000;

#[test]
fn streams_and_entities_are_described_altered_listed_and_deleted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let running = start(2);
        let builder = Client::builder(running.addr().to_string()).protocol(protocol);
        runtime.block_on(async {
            talk(&builder.connect().await.unwrap()).await;
        });
    }
}

async fn talk(client: &Client) {
    let day = std::time::Duration::from_secs(86_400);
    let buys = StreamDefinition::new("buys")
        .field("amount", FieldType::Int)
        .windows(["1h@1m"])
        .aggregates(["count"])
        .clock(Clock::Event);
    client.create_stream(&buys).await.unwrap();
    for user in 0..30 {
        let event = Event::new(format!("user:{user}"), "buys").at(1_000 + user).field("amount", user);
        client.add(event).await.unwrap();
    }
    let info = client.stream_info("buys").await.unwrap();
    assert_eq!((info.name.as_str(), info.entities, info.counters.ok), ("buys", 30, 30));
    assert_eq!((info.clock_mode, info.clock_ms, info.newest_ms), (Clock::Event, Some(1_029), Some(1_029)));
    assert!(info.definition.contains("AGGREGATE count") && info.bytes > 0 && info.backfill.is_none());
    assert_eq!((info.tiers.len(), info.tiers[0].bucket.as_str()), (1, "1m"));
    assert_eq!(info.covered_from_ms("count:1h"), Some(info.created_ms));

    let alteration = StreamAlteration::new("buys")
        .add_aggregates(["sum(amount)"])
        .backfill()
        .set_lateness(Some(day))
        .set_retain(["1d"])
        .set_ttl(Some(30 * day))
        .set_skew(day / 24, SkewPolicy::Reject)
        .set_dedup(Some(day));
    client.alter_stream(&alteration).await.unwrap();
    finished(client, "buys").await;
    let row = client.window("user:7", "buys").features(["sum(amount):1h"]).get().await.unwrap();
    assert_eq!(row.int("sum(amount):1h"), Some(7));
    let back = StreamAlteration::new("buys")
        .drop_aggregates(["sum(amount)"])
        .set_retain(Vec::<String>::new())
        .set_lateness(None)
        .set_ttl(None)
        .set_dedup(None);
    client.alter_stream(&back).await.unwrap();
    let again = client.alter_stream(&StreamAlteration::new("buys").drop_aggregates(["sum(amount)"])).await;
    assert!(again.unwrap_err().to_string().contains("has no sum(amount)"));

    let copy = StreamDefinition::new("copy")
        .field("amount", FieldType::Int)
        .windows(["1h@1m"])
        .aggregates(["max(amount)"])
        .clock(Clock::Event)
        .backfill_from("buys");
    client.create_stream(&copy).await.unwrap();
    finished(client, "copy").await;

    let mut found = Vec::new();
    let mut pages = client.scan_entities("copy").matching("user:2*").page_hint(3);
    while let Some(page) = pages.next_page().await.unwrap() {
        found.extend(page);
    }
    found.sort();
    let mut expected: Vec<String> = (0..30).map(|user| format!("user:{user}")).collect();
    expected.retain(|name| name.starts_with("user:2"));
    expected.sort();
    assert_eq!(found, expected);

    let entity = client.entity_info("user:7", "copy").await.unwrap().unwrap();
    assert_eq!((entity.newest_ms, entity.tiers[0].buckets), (1_007, 1));
    assert!(entity.bytes > 0 && entity.dies_ms.is_some());
    assert_eq!(client.delete_entity("user:7").await.unwrap(), 2);
    assert!(client.delete_entity_of("user:8", "copy").await.unwrap());
    assert!(!client.delete_entity_of("user:8", "copy").await.unwrap());
    for (user, stream, is_there) in
        [("user:7", "buys", false), ("user:8", "buys", true), ("user:8", "copy", false)]
    {
        let info = client.entity_info(user, stream).await.unwrap();
        assert_eq!(info.is_some(), is_there, "{user} {stream}");
    }
}

async fn finished(client: &Client, stream: &str) {
    for _ in 0..POLLS_MAX {
        let info = client.stream_info(stream).await.unwrap();
        if info.backfill.expect("it has one").is_finished() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the backfill of {stream} does not end");
}
