//! Typed calls: the command each sends, the value each reply becomes.

use crate::scripted::ScriptedServer;
use std::time::Duration;
use windrow_client::{Edge, Error, Event, EventReply, Protocol, Value};

#[tokio::test]
async fn every_answer_to_an_event_is_told_apart() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    for (word, reply, counted) in [
        ("OK", EventReply::Ok, true),
        ("CLAMPED", EventReply::Clamped, true),
        ("SKEWED", EventReply::Skewed, false),
        ("DUPLICATE", EventReply::Duplicate, false),
        ("LATE", EventReply::Late, false),
    ] {
        let script = async {
            peer.command().await;
            peer.say(format!("+{word}\r\n")).await;
        };
        let (answer, ()) = tokio::join!(client.add(Event::new("user:1", "buys")), script);
        assert_eq!(answer, Ok(reply));
        assert_eq!(reply.is_counted(), counted);
    }
}

#[tokio::test]
async fn named_features_come_back_under_their_names() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = peer.answer("*4\r\n:3\r\n,37.5\r\n_\r\n*1\r\n*2\r\n$4\r\nshop\r\n:2\r\n");
    let features = ["count:5m", "sum(amount):1h", "avg(amount):5m", "topk(shop,1):1h"];
    let query = client
        .window("user:1", "buys")
        .features(features)
        .at(5000)
        .offset(Duration::from_secs(60))
        .hop(Duration::from_millis(250))
        .closed_buckets_only()
        .edge(Edge::Exclude);
    let (row, command) = tokio::join!(query.get(), script);
    assert_eq!(
        command,
        "WINDOW.GET user:1 buys AT 5000 OFFSET 60000ms HOP 250ms FINAL EDGE EXCLUDE count:5m sum(amount):1h \
         avg(amount):5m topk(shop,1):1h"
    );
    let row = row.unwrap();
    assert_eq!(row.int("count:5m"), Some(3));
    assert_eq!(row.float("sum(amount):1h"), Some(37.5));
    assert_eq!(row.get("avg(amount):5m"), Some(&Value::Null));
    assert_eq!(row.array("topk(shop,1):1h").unwrap()[0].as_array().unwrap()[1], Value::Int(2));
    assert_eq!(row.iter().map(|(name, _)| name).collect::<Vec<_>>(), features);
}

#[tokio::test]
async fn without_features_the_declared_ones_come_in_both_protocols() {
    for (protocol, reply) in [
        (Protocol::Resp3, "%2\r\n+sum(amount):5m\r\n,2.5\r\n+count:5m\r\n:1\r\n"),
        (Protocol::Resp2, "*4\r\n+sum(amount):5m\r\n$3\r\n2.5\r\n+count:5m\r\n:1\r\n"),
    ] {
        let server = ScriptedServer::start().await;
        let (client, mut peer) = server.meet_in(protocol).await;
        let script = peer.answer(reply);
        let (row, command) = tokio::join!(client.window("user:1", "buys").at_newest_event().get(), script);
        assert_eq!(command, "WINDOW.GET user:1 buys AT EVENT");
        let row = row.unwrap();
        assert_eq!(row.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["sum(amount):5m", "count:5m"]);
        assert_eq!((row.float("sum(amount):5m"), row.int("count:5m")), (Some(2.5), Some(1)));
    }
}

#[tokio::test]
async fn many_entities_come_back_as_rows_in_order() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = peer.answer("*2\r\n*1\r\n:3\r\n*1\r\n:0\r\n");
    let query = client.mget(["user:1", "user:2"], "buys").features(["count:5m"]);
    let (rows, command) = tokio::join!(query.get(), script);
    assert_eq!(command, "WINDOW.MGET 2 user:1 user:2 buys count:5m");
    let counts: Vec<_> = rows.unwrap().iter().map(|row| row.int("count:5m")).collect();
    assert_eq!(counts, [Some(3), Some(0)]);
}

#[tokio::test]
async fn a_reply_with_too_few_rows_or_values_is_an_error() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    for reply in ["*1\r\n*1\r\n:3\r\n", "*2\r\n*1\r\n:3\r\n*0\r\n"] {
        let script = async {
            peer.command().await;
            peer.say(reply).await;
        };
        let (rows, ()) = tokio::join!(client.mget(["a", "b"], "buys").features(["count:5m"]).get(), script);
        assert!(matches!(rows, Err(Error::UnexpectedReply { .. })), "{rows:?}");
    }
}

#[tokio::test]
async fn a_range_is_pairs_of_bucket_start_and_value() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = peer.answer("*2\r\n*2\r\n:-60000\r\n,1.5\r\n*2\r\n:0\r\n,0\r\n");
    let query =
        client.range("user:1", "buys", "sum(amount)", -60_000, 60_000).bucket(Duration::from_secs(60));
    let (buckets, command) = tokio::join!(query.get(), script);
    assert_eq!(command, "WINDOW.RANGE user:1 buys sum(amount) -60000 60000 BUCKET 60000ms");
    assert_eq!(buckets.unwrap(), [(-60_000, Value::Float(1.5)), (0, Value::Float(0.0))]);
}

#[tokio::test]
async fn a_join_reads_pairs_with_one_list_or_one_each() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = async {
        let one = peer.command().await.join(" ");
        peer.say("*2\r\n*1\r\n:3\r\n*1\r\n:0\r\n").await;
        let each = peer.command().await.join(" ");
        peer.say("*2\r\n*2\r\n:3\r\n,1.5\r\n%1\r\n+count:5m\r\n:4\r\n").await;
        (one, each)
    };
    let pairs = [("user:1", "buys"), ("card:2", "swipes")];
    let calls = async {
        let one = client.join(pairs).features(["count:5m"]).hop(Duration::from_secs(60)).get().await.unwrap();
        let each =
            client.join(pairs).features_each([vec!["count:5m", "avg(x):1h"], vec![]]).get().await.unwrap();
        (one, each)
    };
    let ((one, each), commands) = tokio::join!(calls, script);
    assert_eq!(commands.0, "WINDOW.JOIN 2 user:1 buys card:2 swipes HOP 60000ms FEATURES 1 count:5m");
    assert_eq!(commands.1, "WINDOW.JOIN 2 user:1 buys card:2 swipes FEATURES 2 count:5m avg(x):1h 0");
    assert_eq!(one.iter().map(|row| row.int("count:5m")).collect::<Vec<_>>(), [Some(3), Some(0)]);
    assert_eq!((each[0].float("avg(x):1h"), each[1].int("count:5m")), (Some(1.5), Some(4)));
    let too_few = client.join(pairs).features_each([vec!["count:5m"]]).get().await;
    assert!(matches!(too_few, Err(Error::InvalidArgument(_))), "{too_few:?}");
}

#[tokio::test]
async fn a_row_comes_with_what_it_was_read_over_in_both_protocols() {
    let resp3 = "*2\r\n*2\r\n:3\r\n:9\r\n%4\r\n+bounds\r\n%2\r\n+count:5m\r\n*2\r\n:-60000\r\n:240000\r\n+count:all\r\n_\r\n\
         +watermark\r\n_\r\n+newest\r\n:239000\r\n+covered_from\r\n%2\r\n+count:5m\r\n:7\r\n+count:all\r\n:8\r\n";
    let resp2 = resp3.replace("%4", "*8").replace("%2", "*4").replace("_\r\n", "$-1\r\n");
    for (protocol, reply) in [(Protocol::Resp3, resp3), (Protocol::Resp2, &resp2)] {
        let server = ScriptedServer::start().await;
        let (client, mut peer) = server.meet_in(protocol).await;
        let script = peer.answer(reply);
        let query = client.window("user:1", "buys").features(["count:5m", "count:all"]);
        let (answer, command) = tokio::join!(query.get_with_meta(), script);
        assert_eq!(command, "WINDOW.GET user:1 buys WITHMETA count:5m count:all");
        let (row, meta) = answer.unwrap();
        assert_eq!(row.int("count:all"), Some(9));
        assert_eq!(meta.bounds, [Some((-60_000, 240_000)), None]);
        assert_eq!((meta.watermark_ms, meta.newest_ms), (None, Some(239_000)));
        assert_eq!(meta.covered_from_ms, [Some(7), Some(8)]);
    }
}

#[tokio::test]
async fn the_largest_come_as_pairs_of_entity_and_value() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = async {
        let command = peer.command().await.join(" ");
        peer.say("*2\r\n*2\r\n$6\r\nuser:1\r\n,9.5\r\n*2\r\n$6\r\nuser:2\r\n,1\r\n").await;
        peer.command().await;
        peer.say("-BUSY another WINDOW.TOP is running\r\n").await;
        command
    };
    let calls = async {
        let top = client.top("buys", "sum(amount):1h", 2).await;
        (top.unwrap(), client.top("buys", "sum(amount):1h", 2).await)
    };
    let ((top, busy), command) = tokio::join!(calls, script);
    assert_eq!(command, "WINDOW.TOP buys sum(amount):1h 2");
    let top: Vec<(&[u8], f64)> =
        top.iter().map(|(entity, value)| (&entity[..], value.as_f64().unwrap())).collect();
    assert_eq!(top, [(&b"user:1"[..], 9.5), (b"user:2", 1.0)]);
    assert!(busy.unwrap_err().to_string().contains("BUSY"));
}

#[tokio::test]
async fn a_feature_without_a_window_is_refused_before_it_is_sent() {
    let server = ScriptedServer::start().await;
    let (client, _peer) = server.meet_default().await;
    let row = client.window("user:1", "buys").features(["AT"]).get().await;
    assert!(matches!(row, Err(Error::InvalidArgument(_))), "{row:?}");
}

#[tokio::test]
async fn streams_are_listed_described_and_dropped() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = async {
        peer.commands(1).await;
        peer.say("*2\r\n+buys\r\n+clicks\r\n").await;
        peer.commands(1).await;
        peer.say("%1\r\n+entities\r\n:7\r\n").await;
        let drop = peer.commands(1).await;
        peer.say("-ERR no stream buys\r\n").await;
        drop
    };
    let calls = async {
        assert_eq!(client.list_streams().await.unwrap(), ["buys", "clicks"]);
        let info = client.stream_info("buys").await;
        assert!(matches!(info, Err(Error::UnexpectedReply { .. })), "it lacks most: {info:?}");
        client.drop_stream("buys").await
    };
    let (dropped, command) = tokio::join!(calls, script);
    assert!(dropped.unwrap_err().to_string().contains("no stream buys"));
    assert_eq!(command, ["STREAM.DROP buys"]);
}
