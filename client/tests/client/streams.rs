//! Streams that are described and altered, entities that are listed, described and deleted.

use crate::scripted::ScriptedServer;
use windrow_client::{Clock, Error, Protocol, StreamAlteration, Value};

const BACKFILL: &str =
    "%5\r\n+state\r\n+merging\r\n+percent\r\n:40\r\n+events\r\n:9\r\n+entities\r\n:3\r\n+too_large\r\n:0\r\n";

/// The reply of STREAM.INFO, with an entry that this client does not know.
fn info(backfill: &str) -> String {
    let counters = ["ok", "clamped", "skewed", "late", "duplicate", "errors", "evicted"];
    let counters: String =
        counters.iter().enumerate().map(|(at, name)| format!("+{name}\r\n:{}\r\n", at + 1)).collect();
    format!(
        "%20\r\n+stream\r\n+buys\r\n+definition\r\n+WINDOWS 1h@1m AGGREGATE count\r\n+created\r\n:1000\r\n\
         +entities\r\n:7\r\n+bytes\r\n:700\r\n{counters}+clock_mode\r\n+EVENT\r\n+clock\r\n:5000\r\n+watermark\r\n_\r\n\
         +newest\r\n:5000\r\n+tiers\r\n*1\r\n%4\r\n+bucket\r\n+1m\r\n+longest_window\r\n+1h\r\n+retain\r\n+1m\r\n+buckets\r\n:63\r\n\
         +covered_from\r\n%2\r\n+count:1h\r\n:1000\r\n+sum(x):1h\r\n_\r\n+backfill\r\n{backfill}+later\r\n:1\r\n"
    )
}

#[tokio::test]
async fn a_stream_is_described_by_type_in_both_protocols() {
    for (protocol, backfill) in [
        (Protocol::Resp3, BACKFILL),
        (Protocol::Resp3, "_\r\n"),
        (Protocol::Resp2, BACKFILL),
        (Protocol::Resp2, "_\r\n"),
    ] {
        let mut reply = info(backfill);
        if protocol == Protocol::Resp2 {
            for (map, list) in
                [("%20", "*40"), ("%5", "*10"), ("%4", "*8"), ("%2", "*4"), ("_\r\n", "$-1\r\n")]
            {
                // The key covered_from has an underscore, but no line ends behind it.
                reply = reply.replace(map, list);
            }
        }
        let server = ScriptedServer::start().await;
        let (client, mut peer) = server.meet_in(protocol).await;
        let script = peer.answer(&reply);
        let (info, command) = tokio::join!(client.stream_info("buys"), script);
        assert_eq!(command, "STREAM.INFO buys");
        let info = info.unwrap();
        assert_eq!((info.name.as_str(), info.definition.as_str()), ("buys", "WINDOWS 1h@1m AGGREGATE count"));
        assert_eq!((info.created_ms, info.entities, info.bytes), (1000, 7, 700));
        let counters = info.counters;
        assert_eq!([counters.ok, counters.clamped, counters.skewed, counters.late], [1, 2, 3, 4]);
        assert_eq!([counters.duplicate, counters.errors, counters.evicted], [5, 6, 7]);
        assert_eq!((info.clock_mode, info.clock_ms), (Clock::Event, Some(5000)));
        assert_eq!((info.watermark_ms, info.newest_ms), (None, Some(5000)));
        assert_eq!((info.tiers.len(), info.tiers[0].bucket.as_str(), info.tiers[0].buckets), (1, "1m", 63));
        assert_eq!(info.covered_from_ms("count:1h"), Some(1000));
        assert_eq!((info.covered_from_ms("sum(x):1h"), info.covered_from_ms("nope:1h")), (None, None));
        assert_eq!(info.covered_from_ms.len(), 2);
        match &info.backfill {
            Some(progress) => {
                assert_eq!(backfill, BACKFILL);
                assert_eq!((progress.state.as_str(), progress.percent), ("merging", 40));
                assert_eq!((progress.events, progress.entities, progress.too_large), (9, 3, 0));
                assert!(!progress.is_finished());
            }
            None => assert_ne!(backfill, BACKFILL),
        }
        assert_eq!((info.int("later"), info.get("entities")), (Some(1), Some(&Value::Int(7))));
    }
}

#[tokio::test]
async fn a_stream_is_altered_or_the_server_says_why_not() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = async {
        let command = peer.command().await.join(" ");
        peer.say("+OK\r\n").await;
        peer.command().await;
        peer.say("-ERR the stream has count already\r\n").await;
        command
    };
    let alteration = StreamAlteration::new("buys").add_aggregates(["count"]).backfill();
    let calls = async {
        client.alter_stream(&alteration).await.unwrap();
        client.alter_stream(&alteration).await
    };
    let (refused, command) = tokio::join!(calls, script);
    assert_eq!(command, "STREAM.ALTER buys ADD AGGREGATE count BACKFILL");
    assert!(matches!(refused, Err(Error::Server(_))), "{refused:?}");
}

#[tokio::test]
async fn an_entity_is_deleted_from_all_streams_or_from_one() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = async {
        let mut commands = Vec::new();
        for reply in [":3\r\n", ":1\r\n", ":0\r\n", "+OK\r\n"] {
            commands.push(peer.command().await.join(" "));
            peer.say(reply).await;
        }
        commands
    };
    let calls = async {
        assert_eq!(client.delete_entity("user:1").await, Ok(3));
        assert_eq!(client.delete_entity_of("user:1", "buys").await, Ok(true));
        assert_eq!(client.delete_entity_of("user:1", "buys").await, Ok(false));
        client.delete_entity("user:1").await
    };
    let (odd, commands) = tokio::join!(calls, script);
    assert_eq!(commands[..2], ["ENTITY.DEL user:1", "ENTITY.DEL user:1 buys"]);
    assert!(matches!(odd, Err(Error::UnexpectedReply { .. })), "{odd:?}");
}

#[tokio::test]
async fn an_entity_is_described_or_not_there() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = async {
        let command = peer.command().await.join(" ");
        peer.say(
            "%4\r\n+newest\r\n:-5\r\n+bytes\r\n:96\r\n+dies\r\n_\r\n+tiers\r\n*1\r\n%3\r\n+bucket\r\n+1m\r\n+buckets\r\n:2\r\n\
             +capacity\r\n:4\r\n",
        )
        .await;
        peer.command().await;
        peer.say("_\r\n").await;
        command
    };
    let calls = async {
        let info = client.entity_info("user:1", "buys").await.unwrap();
        (info, client.entity_info("user:2", "buys").await.unwrap())
    };
    let ((info, none), command) = tokio::join!(calls, script);
    assert_eq!(command, "ENTITY.INFO user:1 buys");
    let info = info.unwrap();
    assert_eq!((info.newest_ms, info.bytes, info.dies_ms), (-5, 96, None));
    assert_eq!((info.tiers[0].bucket.as_str(), info.tiers[0].buckets, info.tiers[0].capacity), ("1m", 2, 4));
    assert_eq!(none, None);
}

#[tokio::test]
async fn entities_are_listed_page_by_page_until_the_cursor_is_zero() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = async {
        let mut commands = Vec::new();
        for reply in [
            "*2\r\n$2\r\n77\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            "-TRYAGAIN later\r\n",
            "*2\r\n$1\r\n0\r\n*0\r\n",
        ] {
            commands.push(peer.command().await.join(" "));
            peer.say(reply).await;
        }
        commands
    };
    let calls = async {
        let mut scan = client.scan_entities("buys").matching("user:*").page_hint(50);
        assert_eq!(scan.next_page().await.unwrap().unwrap(), ["a", "b"]);
        assert!(matches!(scan.next_page().await, Err(Error::Server(_))));
        assert!(scan.next_page().await.unwrap().unwrap().is_empty());
        // It has ended, and nothing is sent any more.
        assert_eq!(scan.next_page().await, Ok(None));
    };
    let ((), commands) = tokio::join!(calls, script);
    let page = |cursor| format!("ENTITY.SCAN buys {cursor} MATCH user:* COUNT 50");
    assert_eq!(commands, [page(0), page(77), page(77)]);
}
