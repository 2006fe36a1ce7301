//! Many callers, one connection: order, bounds, withdrawal.

use crate::scripted::ScriptedServer;
use std::time::Duration;
use tokio::task::JoinSet;
use windrow_client::{Client, Error, Value};

#[tokio::test]
async fn replies_are_matched_to_callers_in_order() {
    const CALLERS: usize = 100;
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let mut calls = JoinSet::new();
    for number in 0..CALLERS {
        let client = client.clone();
        calls.spawn(async move { (number, client.command(["ECHO", &number.to_string()]).await.unwrap()) });
    }
    // All commands arrive before any reply is sent: they were pipelined.
    let commands = peer.commands(CALLERS).await;
    let replies: String =
        commands.iter().map(|command| format!(":{}\r\n", command.strip_prefix("ECHO ").unwrap())).collect();
    // In two parts, cut inside a reply.
    let (first, second) = replies.split_at(replies.len() / 2 + 1);
    peer.say(first).await;
    peer.say(second).await;
    let mut answered = 0;
    while let Some(call) = calls.join_next().await {
        let (number, reply) = call.unwrap();
        assert_eq!(reply, Value::Int(i64::try_from(number).unwrap()));
        answered += 1;
    }
    assert_eq!(answered, CALLERS);
}

#[tokio::test]
async fn an_error_reply_fails_its_own_caller_only() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = async {
        peer.commands(3).await;
        peer.say(":1\r\n-OOM maxmemory reached\r\n:3\r\n").await;
    };
    let call = || client.command(["X"]);
    let (first, second, third, ()) = tokio::join!(call(), call(), call(), script);
    assert_eq!(first, Ok(Value::Int(1)));
    assert!(second.unwrap_err().is_oom());
    assert_eq!(third, Ok(Value::Int(3)));
}

#[tokio::test]
async fn at_the_bound_the_next_command_waits_for_a_reply() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet(Client::builder(server.addr()).max_in_flight(2)).await;
    let mut calls = JoinSet::new();
    for number in 0..3 {
        let client = client.clone();
        calls.spawn(async move { client.command(["X", &number.to_string()]).await });
    }
    peer.commands(2).await;
    let third = tokio::time::timeout(Duration::from_millis(50), peer.command()).await;
    assert!(third.is_err(), "a third command was sent although the bound is 2: {third:?}");
    peer.say("+OK\r\n").await;
    peer.command().await;
    peer.say("+OK\r\n+OK\r\n").await;
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
}

#[tokio::test]
async fn at_the_bound_a_command_that_waits_too_long_was_certainly_not_applied() {
    let server = ScriptedServer::start().await;
    let options =
        Client::builder(server.addr()).max_in_flight(1).response_timeout(Duration::from_millis(200));
    let (client, mut peer) = server.meet(options).await;
    let blocking = tokio::spawn({
        let client = client.clone();
        async move { client.command(["SLOW"]).await }
    });
    peer.command().await;
    // Pushes keep the link from being given up for silence, so the first command keeps its place.
    let calls = async { (client.command(["NEXT"]).await.unwrap_err(), blocking.await.unwrap().unwrap_err()) };
    let pushes = async {
        loop {
            peer.say(">1\r\n+tick\r\n").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (second, first) = tokio::select! {
        errors = calls => errors,
        () = pushes => unreachable!("pushes go on for ever"),
    };
    assert!(matches!(first, Error::Timeout { maybe_applied: true, .. }), "{first}");
    assert!(matches!(second, Error::Timeout { maybe_applied: false, .. }), "{second}");
}

#[tokio::test]
async fn a_caller_that_gave_up_does_not_shift_the_replies_of_others() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let impatient = tokio::spawn({
        let client = client.clone();
        async move { client.command(["FIRST"]).await }
    });
    assert_eq!(peer.command().await, ["FIRST"]);
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    let script = async {
        peer.command().await;
        peer.say(":1\r\n:2\r\n").await;
    };
    let (second, ()) = tokio::join!(client.command(["SECOND"]), script);
    assert_eq!(second, Ok(Value::Int(2)));
}

#[tokio::test]
async fn pushes_are_not_replies() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let script = async {
        peer.command().await;
        peer.say(">2\r\n+message\r\n+hello\r\n:7\r\n").await;
    };
    let (reply, ()) = tokio::join!(client.command(["X"]), script);
    assert_eq!(reply, Ok(Value::Int(7)));
}
