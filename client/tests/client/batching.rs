//! Events of many tasks in one command.

use crate::scripted::ScriptedServer;
use std::time::Duration;
use windrow_client::{BatchOptions, Error, ErrorCode, Event, EventReply};

/// A delay that no test waits for.
const NEVER: Duration = Duration::from_secs(3600);

fn buy(entity: &str, amount: f64) -> Event {
    Event::new(entity, "buys").at(1000).field("amount", amount)
}

#[tokio::test]
async fn a_full_batch_is_one_command_and_each_event_gets_its_own_reply() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let options = BatchOptions { max_events: 3, max_delay: NEVER, ..BatchOptions::default() };
    let batcher = client.batcher("buys", ["amount"], options).unwrap();
    let script = async {
        let command = peer.command().await.join(" ");
        peer.say("*3\r\n+OK\r\n-ERR amount is no number\r\n+LATE\r\n").await;
        command
    };
    let (a, b, c, command) = tokio::join!(
        batcher.add(buy("a", 1.5)),
        batcher.add(buy("b", 2.0)),
        batcher.add(buy("c", 3.0)),
        script
    );
    assert_eq!(command, "EVENT.MADD buys FIELDS 1 amount EVENTS a 1000 1.5 b 1000 2 c 1000 3");
    assert_eq!(a, Ok(EventReply::Ok));
    assert_eq!(b.unwrap_err().server().unwrap().code(), ErrorCode::Err);
    assert_eq!(c, Ok(EventReply::Late));
}

#[tokio::test]
async fn a_batch_that_does_not_fill_is_sent_after_its_delay() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let options =
        BatchOptions { max_events: 1000, max_delay: Duration::from_millis(5), ..Default::default() };
    let batcher = client.batcher("buys", ["amount"], options).unwrap();
    let script = async {
        assert_eq!(peer.command().await[0], "EVENT.MADD");
        peer.say("*1\r\n+DUPLICATE\r\n").await;
    };
    let (reply, ()) = tokio::join!(batcher.add(buy("a", 1.0)), script);
    assert_eq!(reply, Ok(EventReply::Duplicate));
}

#[tokio::test]
async fn batches_are_pipelined_in_order_up_to_their_bound() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let options =
        BatchOptions { max_events: 1, max_delay: NEVER, max_batches_in_flight: 2, ..Default::default() };
    let batcher = client.batcher("buys", ["amount"], options).unwrap();
    let calls: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|entity| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.add(buy(entity, 1.0)).await })
        })
        .collect();
    let commands = peer.commands(2).await;
    assert!(commands[0].contains(" a ") && commands[1].contains(" b "), "{commands:?}");
    let third = tokio::time::timeout(Duration::from_millis(50), peer.command()).await;
    assert!(third.is_err(), "a third batch was sent although the bound is 2");
    peer.say("*1\r\n+OK\r\n").await;
    peer.command().await;
    peer.say("*1\r\n+CLAMPED\r\n*1\r\n+SKEWED\r\n").await;
    let mut replies = Vec::new();
    for call in calls {
        replies.push(call.await.unwrap().unwrap());
    }
    assert_eq!(replies, [EventReply::Ok, EventReply::Clamped, EventReply::Skewed]);
}

#[tokio::test]
async fn a_refused_batch_fails_every_event_of_it() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let options = BatchOptions { max_events: 2, max_delay: NEVER, ..Default::default() };
    let batcher = client.batcher("buys", ["amount"], options).unwrap();
    let script = async {
        peer.command().await;
        peer.say("-MISCONF no room for the log\r\n").await;
    };
    let (a, b, ()) = tokio::join!(batcher.add(buy("a", 1.0)), batcher.add(buy("b", 1.0)), script);
    assert!(a.unwrap_err().is_misconf() && b.unwrap_err().is_misconf());
}

#[tokio::test]
async fn a_reply_of_the_wrong_length_is_given_to_nobody() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let options = BatchOptions { max_events: 2, max_delay: NEVER, ..Default::default() };
    let batcher = client.batcher("buys", ["amount"], options).unwrap();
    let script = async {
        peer.command().await;
        peer.say("*1\r\n+OK\r\n").await;
    };
    let (a, b, ()) = tokio::join!(batcher.add(buy("a", 1.0)), batcher.add(buy("b", 1.0)), script);
    for reply in [a, b] {
        assert!(matches!(reply, Err(Error::UnexpectedReply { .. })), "{reply:?}");
    }
}

#[tokio::test]
async fn events_of_a_batch_lost_in_flight_may_have_been_applied() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let options = BatchOptions { max_events: 1, max_delay: NEVER, ..Default::default() };
    let batcher = client.batcher("buys", ["amount"], options).unwrap();
    let script = async {
        peer.command().await;
        drop(peer);
    };
    let (reply, ()) = tokio::join!(batcher.add(buy("a", 1.0)), script);
    assert!(reply.unwrap_err().maybe_applied());
}

#[tokio::test]
async fn flush_sends_a_partial_batch_and_waits_for_its_replies() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let options = BatchOptions { max_events: 100, max_delay: NEVER, ..Default::default() };
    let batcher = client.batcher("buys", ["amount"], options).unwrap();
    let script = async {
        peer.command().await;
        peer.say("*1\r\n+OK\r\n").await;
    };
    let (reply, flushed, ()) = tokio::join!(batcher.add(buy("a", 1.0)), batcher.flush(), script);
    assert_eq!((reply, flushed), (Ok(EventReply::Ok), Ok(())));
}

#[tokio::test]
async fn what_waits_when_the_last_handle_goes_is_still_sent() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let options = BatchOptions { max_events: 100, max_delay: NEVER, ..Default::default() };
    let batcher = client.batcher("buys", ["amount"], options).unwrap();
    drop(client);
    let call = tokio::spawn(async move {
        // The future is polled once, which queues the event, and the handle goes with the timeout.
        let _ = tokio::time::timeout(Duration::from_millis(20), batcher.add(buy("a", 1.0))).await;
    });
    assert!(peer.command().await.join(" ").ends_with("EVENTS a 1000 1"));
    call.await.unwrap();
}
