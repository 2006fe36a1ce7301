//! WINDOW.TOP: what it finds, and that it gets in nobody's way.

use std::io::ErrorKind;
use std::net::Shutdown;

use super::harness::{Client, Reply, command, eventually, start};
use crate::Running;

/// Enough that a scan takes many slices.
const MANY: usize = 60_000;

fn pair(entity: &str, value: i64) -> Reply {
    Reply::Array(vec![Reply::Bulk(entity.into()), Reply::Int(value)])
}

/// A server with [`MANY`] entities; entity i has the sum i.
fn filled(shards: usize) -> (Running, Client) {
    let running = start(shards);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE sum(v) count min(v)").assert_ok();
    for start in (0..MANY).step_by(5_000) {
        let rows: String = (start..start + 5_000).map(|i| format!(" e{i} * {i}")).collect();
        let replies = client.ask(&format!("EVENT.MADD s FIELDS 1 v EVENTS{rows}")).array();
        assert!(replies.iter().all(|reply| *reply == Reply::Simple("OK".to_owned())));
    }
    (running, client)
}

#[test]
fn the_entities_with_the_largest_values_come_largest_first() {
    for shards in [1, 4] {
        let (_running, mut client) = filled(shards);
        let expected: Vec<Reply> =
            (0..1_000).map(|rank| pair(&format!("e{}", MANY - 1 - rank), (MANY - 1 - rank) as i64)).collect();
        assert_eq!(client.ask("WINDOW.TOP s sum(v):1h 1000"), Reply::Array(expected.clone()));
        assert_eq!(client.ask("window.top s sum(v):60m 3"), Reply::Array(expected[..3].to_vec()));
        // Pipelined behind writes: it sees them; and what follows sees its turn free again.
        let mut bytes = Vec::new();
        command(&mut bytes, "EVENT.ADD e5 s * v 1000000");
        command(&mut bytes, "EVENT.ADD e6 s * v 999999");
        command(&mut bytes, "WINDOW.TOP s sum(v):1h 2");
        command(&mut bytes, "WINDOW.TOP s count:1h 3");
        command(&mut bytes, "PING");
        client.send(&bytes);
        client.read().assert_ok();
        client.read().assert_ok();
        assert_eq!(client.read(), Reply::Array(vec![pair("e5", 1_000_005), pair("e6", 1_000_005)]));
        assert_eq!(client.read(), Reply::Array(vec![pair("e5", 2), pair("e6", 2), pair("e0", 1)]));
        assert_eq!(client.read(), Reply::Simple("PONG".to_owned()));
    }
}

#[test]
fn entities_without_a_value_and_of_other_streams_have_no_rank() {
    let running = start(4);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v FLOAT WINDOWS 1h@1m AGGREGATE max(v) CLOCK EVENT").assert_ok();
    client.ask("STREAM.CREATE other FIELDS v FLOAT WINDOWS 1h@1m AGGREGATE max(v)").assert_ok();
    assert_eq!(client.ask("WINDOW.TOP s max(v):1h 10"), Reply::Array(vec![]));
    client.ask("EVENT.ADD stranger other * v 9").assert_ok();
    client.ask("EVENT.ADD dead s 1000 v 8").assert_ok();
    client.ask("EVENT.ADD empty s 100000000").assert_ok();
    client.ask("EVENT.ADD low s 100000000 v -2.5").assert_ok();
    client.ask("EVENT.ADD high s 100000000 v 2.5").assert_ok();
    let ranked =
        |entity: &str, value: &str| Reply::Array(vec![Reply::Bulk(entity.into()), Reply::Bulk(value.into())]);
    let expected = Reply::Array(vec![ranked("high", "2.5"), ranked("low", "-2.5")]);
    assert_eq!(client.ask("WINDOW.TOP s max(v):1h 10"), expected);
}

#[test]
fn there_is_one_at_a_time_and_others_are_served_meanwhile() {
    for shards in [1, 4] {
        let (running, mut client) = filled(shards);
        let mut second = Client::connect(&running);
        let mut top = Vec::new();
        command(&mut top, "WINDOW.TOP s sum(v):1h 1");
        let expected = Reply::Array(vec![pair(&format!("e{}", MANY - 1), (MANY - 1) as i64)]);
        let mut was_busy = false;
        let mut was_served = false;
        eventually("a scan was met by another, and by a read that did not wait for it", || {
            client.send(&top);
            let other = second.ask("WINDOW.TOP s sum(v):1h 1");
            if other != expected {
                other.assert_error("BUSY");
                was_busy = true;
            }
            second.ask("WINDOW.GET e7 s sum(v):1h").array();
            client.socket.set_nonblocking(true).unwrap();
            let early = client.socket.peek(&mut [0]);
            client.socket.set_nonblocking(false).unwrap();
            was_served |= early.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            let own = client.read();
            if own != expected {
                own.assert_error("BUSY");
            }
            was_busy && was_served
        });
    }
}

#[test]
fn it_ends_when_its_client_goes_and_the_next_one_has_its_turn() {
    for shards in [1, 4] {
        let (running, mut client) = filled(shards);
        let expected = Reply::Array(vec![pair(&format!("e{}", MANY - 1), (MANY - 1) as i64)]);
        let mut top = Vec::new();
        command(&mut top, "WINDOW.TOP s sum(v):1h 1");
        command(&mut top, "PING");
        eventually("a scan was cancelled", || {
            let mut gone = Client::connect(&running);
            gone.send(&top);
            gone.socket.shutdown(Shutdown::Write).unwrap();
            let reply = gone.read();
            // What was sent behind it is still answered.
            assert_eq!(gone.read(), Reply::Simple("PONG".to_owned()));
            assert!(gone.is_closed());
            match reply {
                Reply::Error(text) => {
                    assert!(text.contains("cancelled"), "{text}");
                    true
                }
                finished => {
                    assert_eq!(finished, expected);
                    false
                }
            }
        });
        for _ in 0..20 {
            let mut gone = Client::connect(&running);
            gone.send(&top);
            drop(gone);
        }
        eventually("the turn is free", || client.ask("WINDOW.TOP s sum(v):1h 1") == expected);
        // Killed while it waits.
        let mut killed = Client::connect(&running);
        let Reply::Int(id) = killed.ask("CLIENT ID") else { panic!("an id is an integer") };
        killed.send(&top);
        assert_eq!(client.ask(&format!("CLIENT KILL ID {id}")), Reply::Int(1));
        assert!(killed.is_closed());
        eventually("the turn is free", || client.ask("WINDOW.TOP s sum(v):1h 1") == expected);
    }
}

#[test]
fn the_scan_of_who_is_denied_it_meanwhile_ends_and_others_get_their_turn() {
    for shards in [1, 4] {
        let (running, mut admin) = filled(shards);
        for _ in 0..10 {
            admin.ask("ACL SETUSER bob on >x ~* +window.top").assert_ok();
            let mut bob = Client::connect(&running);
            bob.ask("AUTH bob x").assert_ok();
            let mut bytes = Vec::new();
            command(&mut bytes, "WINDOW.TOP s sum(v):1h 1");
            bob.send(&bytes);
            admin.ask("ACL SETUSER bob -window.top").assert_ok();
            // It was answered before, or came after, or was in the midst of it; then it is closed.
            match bob.try_read() {
                Some(Reply::Error(text)) => assert!(text.starts_with("NOPERM"), "{text}"),
                Some(reply) => assert_eq!(reply.array().len(), 1),
                None => {}
            }
            eventually("others get their turn", || {
                !matches!(admin.ask("WINDOW.TOP s sum(v):1h 1"), Reply::Error(_))
            });
        }
    }
}
