//! Handshake, breaks, reconnects.

use crate::scripted::ScriptedServer;
use std::time::Duration;
use windrow_client::{Client, Error, Event, Protocol, Value};

fn quick(server: &ScriptedServer) -> windrow_client::ClientBuilder {
    Client::builder(server.addr()).reconnect_backoff(Duration::from_millis(1), Duration::from_millis(20))
}

#[tokio::test]
async fn the_handshake_carries_protocol_credentials_and_name() {
    let server = ScriptedServer::start().await;
    let builder = Client::builder(server.addr()).username("risk").password("s3cret").client_name("model");
    let script = async {
        let mut peer = server.accept().await;
        let hello = peer.command().await;
        peer.say("%1\r\n+proto\r\n:3\r\n").await;
        hello
    };
    let (client, hello) = tokio::join!(builder.connect(), script);
    client.unwrap();
    assert_eq!(hello.join(" "), "HELLO 3 AUTH risk s3cret SETNAME model");
}

#[tokio::test]
async fn a_password_alone_is_that_of_the_default_user() {
    let server = ScriptedServer::start().await;
    let builder = Client::builder(server.addr()).password("s3cret").protocol(Protocol::Resp2);
    let script = async {
        let mut peer = server.accept().await;
        let hello = peer.command().await;
        peer.say("*2\r\n+proto\r\n:2\r\n").await;
        hello
    };
    let (client, hello) = tokio::join!(builder.connect(), script);
    client.unwrap();
    assert_eq!(hello.join(" "), "HELLO 2 AUTH default s3cret");
}

#[tokio::test]
async fn a_refused_handshake_is_an_error_of_its_own() {
    let server = ScriptedServer::start().await;
    let script = async {
        let mut peer = server.accept().await;
        peer.command().await;
        peer.say("-WRONGPASS invalid username-password pair\r\n").await;
        peer
    };
    let (client, _peer) = tokio::join!(Client::connect(server.addr()), script);
    let error = client.unwrap_err();
    assert!(matches!(error, Error::Handshake { .. }) && error.is_auth(), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error_that_names_the_address() {
    let addr = ScriptedServer::start().await.addr();
    let error = Client::connect(addr.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.to_string().contains(&addr), "{error}");
}

#[tokio::test]
async fn a_command_in_flight_when_the_connection_breaks_fails_and_is_not_sent_again() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet(quick(&server)).await;
    let script = async {
        assert_eq!(peer.command().await[0], "EVENT.ADD");
        drop(peer);
    };
    let (reply, ()) = tokio::join!(client.add(Event::new("user:1", "buys")), script);
    let error = reply.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { maybe_applied: true, .. }), "{error}");
    assert!(error.maybe_applied() && !error.is_retryable());

    // The next link starts with the next command, not with the lost one.
    let script = async {
        let mut peer = server.welcome().await;
        let command = peer.command().await;
        peer.say("+PONG\r\n").await;
        command
    };
    let (ping, command) = tokio::join!(client.ping(), script);
    ping.unwrap();
    assert_eq!(command, ["PING"]);
}

#[tokio::test]
async fn replies_that_came_before_the_break_still_count() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet(quick(&server)).await;
    let script = async {
        peer.commands(2).await;
        peer.say("+OK\r\n").await;
        drop(peer);
    };
    let (first, second, ()) = tokio::join!(client.command(["A"]), client.command(["B"]), script);
    assert_eq!(first.unwrap().as_str(), Some("OK"));
    assert!(matches!(second, Err(Error::ConnectionLost { maybe_applied: true, .. })));
}

#[tokio::test]
async fn commands_that_were_not_sent_wait_for_the_reconnect() {
    let server = ScriptedServer::start().await;
    let (client, peer) = server.meet(quick(&server)).await;
    drop(peer);
    // The link may be found broken only now; what was put on the dead link fails, what came later waits.
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.command(["FIRST"]).await }
    });
    let mut peer = server.welcome().await;
    let script = async {
        while let Some(command) = peer.command_or_end().await {
            peer.say(format!("+{}\r\n", command[0])).await;
            if command[0] == "LATER" {
                break;
            }
        }
    };
    let (later, ()) = tokio::join!(client.command(["LATER"]), script);
    assert_eq!(later.unwrap().as_str(), Some("LATER"));
    match first.await.unwrap() {
        Ok(reply) => assert_eq!(reply.as_str(), Some("FIRST")),
        Err(error) => assert!(matches!(error, Error::ConnectionLost { .. }), "{error}"),
    }
}

#[tokio::test]
async fn reads_are_sent_once_more_only_if_asked_for() {
    for retry in [false, true] {
        let server = ScriptedServer::start().await;
        let (client, mut peer) = server.meet(quick(&server).retry_reads(retry)).await;
        let script = async {
            peer.command().await;
            drop(peer);
            let mut peer = server.welcome().await;
            if retry {
                assert_eq!(peer.command().await.join(" "), "WINDOW.GET user:1 buys count:5m");
                peer.say("*1\r\n:4\r\n").await;
            }
            peer
        };
        let read = client.window("user:1", "buys").features(["count:5m"]).get();
        let (row, _peer) = tokio::join!(read, script);
        match retry {
            true => assert_eq!(row.unwrap().int("count:5m"), Some(4)),
            false => assert!(matches!(row, Err(Error::ConnectionLost { .. })), "{row:?}"),
        }
    }
}

#[tokio::test]
async fn a_link_on_which_nothing_arrives_is_given_up() {
    let server = ScriptedServer::start().await;
    let builder = quick(&server).response_timeout(Duration::from_millis(100));
    let (client, mut silent) = server.meet(builder).await;
    let script = async {
        silent.command().await;
        // Still open, but mute: the client must come back on a new connection by itself.
        server.welcome().await
    };
    let (reply, mut peer) = tokio::join!(client.command(["X"]), script);
    assert!(reply.unwrap_err().maybe_applied());
    let script = async {
        peer.command().await;
        peer.say(":5\r\n").await;
    };
    let (reply, ()) = tokio::join!(client.command(["Y"]), script);
    assert_eq!(reply, Ok(Value::Int(5)));
}

#[tokio::test]
async fn bytes_that_are_no_resp_end_the_link_not_the_client() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet(quick(&server)).await;
    let script = async {
        peer.command().await;
        peer.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        server.welcome().await
    };
    let (reply, mut peer) = tokio::join!(client.command(["X"]), script);
    assert!(matches!(reply, Err(Error::ConnectionLost { .. })), "{reply:?}");
    let script = async {
        peer.command().await;
        peer.say("+PONG\r\n").await;
    };
    let (ping, ()) = tokio::join!(client.ping(), script);
    ping.unwrap();
}

#[tokio::test]
async fn a_reply_that_nobody_asked_for_ends_the_link() {
    let server = ScriptedServer::start().await;
    let (_client, mut peer) = server.meet(quick(&server)).await;
    peer.say("+OK\r\n").await;
    assert_eq!(peer.command_or_end().await, None);
    server.welcome().await;
}

#[tokio::test]
async fn the_connection_closes_with_the_last_handle() {
    let server = ScriptedServer::start().await;
    let (client, mut peer) = server.meet_default().await;
    let clone = client.clone();
    drop(client);
    let script = async {
        peer.command().await;
        peer.say("+PONG\r\n").await;
    };
    tokio::join!(clone.ping(), script).0.unwrap();
    drop(clone);
    assert_eq!(peer.command_or_end().await, None);
}
