//! What LATENCY shows.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use windrow_storage::disk::MemDisk;

use super::harness::{Client, Reply, SlowSync, command, config, eventually, start, start_on};
use crate::Config;
use crate::config::AppendFsync;

/// Name, Unix seconds, milliseconds and longest time of each event.
#[track_caller]
fn latest(client: &mut Client) -> BTreeMap<String, [i64; 3]> {
    let events = client.ask("LATENCY LATEST").array().into_iter().map(|event| {
        let [name, Reply::Int(at_s), Reply::Int(ms), Reply::Int(ms_max)] =
            <[Reply; 4]>::try_from(event.array()).expect("an event has four parts")
        else {
            panic!("an event has three integers");
        };
        (name.text(), [at_s, ms, ms_max])
    });
    events.collect()
}

#[test]
fn what_takes_long_is_kept_by_event_and_forgotten_when_asked() {
    // Each sync takes three milliseconds.
    let settings = Config {
        appendfsync: AppendFsync::Always,
        latency_threshold_ms: 1,
        slowlog_slower_than_us: -1,
        ..config(2)
    };
    let running = start_on(settings, Arc::new(SlowSync(MemDisk::new())));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client.ask("EVENT.ADD e s *").assert_ok();
    client.ask("SAVE").assert_ok();
    // No machine counts so many events in a millisecond.
    let rows: String = (0..200_000).map(|i| format!(" e{i} *")).collect();
    client.ask(&format!("EVENT.MADD s FIELDS 0 EVENTS{rows}")).array();
    // The sync thread notes a sync when it has told of it.
    eventually("a sync is noted", || latest(&mut client).contains_key("log-fsync"));
    let found = latest(&mut client);
    for (event, ms_min) in [("log-fsync", 3), ("snapshot", 3), ("command", 1)] {
        let [at_s, ms, ms_max] = found[event];
        assert!(at_s > 1_600_000_000 && ms >= ms_min && ms_max >= ms, "{event}: {found:?}");
        let history = client.ask(&format!("LATENCY HISTORY {event}")).array();
        assert!((1..=160).contains(&history.len()), "{history:?}");
        let newest: Vec<Reply> = history.into_iter().next_back().unwrap().array();
        assert!(
            matches!(newest[..], [Reply::Int(at), Reply::Int(ms)] if at >= at_s && ms >= 1),
            "{newest:?}"
        );
        let graph = client.ask(&format!("LATENCY GRAPH {event}")).text();
        assert!(graph.starts_with(&format!("{event} - high ")) && graph.contains('#'), "{graph}");
    }
    let doctor = client.ask("LATENCY DOCTOR").text();
    assert!(doctor.contains("log-fsync: ") && doctor.contains("What to do"), "{doctor}");
    assert!(client.ask("LATENCY HISTORY nothing").array().is_empty());
    client.ask("LATENCY GRAPH nothing").assert_error("ERR No samples available for event 'nothing'");

    client.ask("CONFIG SET latency-monitor-threshold 0").assert_ok();
    assert!(client.ask("LATENCY DOCTOR").text().contains("monitoring is off"));
    // A sync that was on its way may still be noted.
    eventually("nothing is noted any more", || {
        client.ask("LATENCY RESET");
        client.ask("EVENT.ADD e s *").assert_ok();
        client.ask("LATENCY RESET") == Reply::Int(0)
    });
    assert!(latest(&mut client).is_empty());
    client.ask("LATENCY GRAPH snapshot").assert_error("No samples");
}

#[test]
fn only_events_that_are_named_are_forgotten() {
    let running =
        start_on(Config { latency_threshold_ms: 1, ..config(1) }, Arc::new(SlowSync(MemDisk::new())));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client.ask("EVENT.ADD e s *").assert_ok();
    client.ask("SAVE").assert_ok();
    eventually("a sync is noted", || latest(&mut client).contains_key("log-fsync"));
    assert_eq!(client.ask("LATENCY RESET nothing"), Reply::Int(0));
    assert_eq!(client.ask("LATENCY RESET nothing SNAPSHOT snapshot"), Reply::Int(1));
    let found = latest(&mut client);
    assert!(!found.contains_key("snapshot") && found.contains_key("log-fsync"), "{found:?}");
    let help = client.ask("LATENCY HELP").array();
    assert!(help.iter().all(|line| matches!(line, Reply::Simple(_))) && help.len() > 8, "{help:?}");
    client.ask("LATENCY").assert_error("wrong number of arguments");
}

#[test]
fn without_a_threshold_nothing_is_kept() {
    let running = start_on(config(2), Arc::new(SlowSync(MemDisk::new())));
    let mut client = Client::connect(&running);
    let threshold = client.ask("CONFIG GET latency-monitor-threshold").array();
    assert_eq!(threshold[1], Reply::Bulk(b"0".into()));
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client.ask("EVENT.ADD e s *").assert_ok();
    client.ask("SAVE").assert_ok();
    assert!(latest(&mut client).is_empty());
    assert_eq!(client.ask("LATENCY RESET"), Reply::Int(0));
}

/// Calls of each command, and the pairs of its histogram.
#[track_caller]
fn histogram(client: &mut Client, words: &str) -> BTreeMap<String, (i64, Vec<[i64; 2]>)> {
    let number = |reply: &Reply| match reply {
        Reply::Int(number) => *number,
        other => panic!("expected a number, got {other:?}"),
    };
    let reply = client.ask(words).array();
    let commands = reply.chunks_exact(2).map(|pair| {
        let [name, description] = pair else { unreachable!("a pair") };
        let description = description.clone().array();
        assert_eq!(description[0], Reply::Bulk(b"calls".into()));
        assert_eq!(description[2], Reply::Bulk(b"histogram_usec".into()));
        let pairs = description[3].clone().array();
        let pairs = pairs.chunks_exact(2).map(|pair| [number(&pair[0]), number(&pair[1])]).collect();
        (name.clone().text(), (number(&description[1]), pairs))
    });
    commands.collect()
}

#[test]
fn the_histogram_counts_every_call_of_each_command_once() {
    for (shards, slowlog_slower_than_us) in [(1, 10_000), (4, 10_000), (1, 0), (4, 0)] {
        let running = start_on(Config { slowlog_slower_than_us, ..config(shards) }, Arc::new(MemDisk::new()));
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
        let mut bytes = Vec::new();
        for i in 0..900 {
            for words in ["EVENT.ADD", "WINDOW.GET", "ENTITY.INFO"] {
                let rest = if words == "EVENT.ADD" { " *" } else { "" };
                command(&mut bytes, &format!("{words} e{i} s{rest}"));
            }
            command(&mut bytes, &format!("WINDOW.MGET 2 e{i} f s"));
        }
        client.send(&bytes);
        for _ in 0..900 * 4 {
            client.read();
        }
        let rows: String = (0..300).map(|i| format!(" e{i} *")).collect();
        client.ask(&format!("EVENT.MADD s FIELDS 0 EVENTS{rows}")).array();
        client.ask("WINDOW.TOP s count:1h 3").array();
        client.ask("WINDOW.GET e nope").assert_error("no such stream");
        client.ask("NOTHING").assert_error("unknown command");
        let found = histogram(&mut client, "LATENCY HISTOGRAM");
        let calls: BTreeMap<&str, i64> =
            found.iter().map(|(name, (calls, _))| (name.as_str(), *calls)).collect();
        let expected = [
            ("entity.info", 900),
            ("event.add", 900),
            ("event.madd", 1),
            ("stream.create", 1),
            ("window.get", 901),
            ("window.mget", 900),
            ("window.top", 1),
        ];
        assert_eq!(calls, BTreeMap::from(expected), "{shards} shards, {slowlog_slower_than_us}");
        for (name, (calls, pairs)) in &found {
            assert!(pairs.windows(2).all(|two| two[0][0] < two[1][0] && two[0][1] < two[1][1]), "{pairs:?}");
            assert_eq!(pairs.last().unwrap()[1], *calls, "{name}: {pairs:?}");
        }
    }
}

#[test]
fn the_histogram_is_of_the_commands_that_are_named_until_it_is_reset() {
    let running = start(2);
    let mut client = Client::connect(&running);
    client.ask("CONFIG GET save");
    client.ask("CONFIG SET timeout 5").assert_ok();
    client.ask("CONFIG GET save");
    client.ask("PING");
    let calls = |client: &mut Client, words: &str| -> Vec<(String, i64)> {
        histogram(client, words).into_iter().map(|(name, (calls, _))| (name, calls)).collect()
    };
    let config = [("config|get".to_owned(), 2), ("config|set".to_owned(), 1)];
    assert_eq!(calls(&mut client, "LATENCY HISTOGRAM CONFIG nothing echo"), config);
    assert_eq!(
        calls(&mut client, "LATENCY HISTOGRAM config|get config|get ping"),
        [config[0].clone(), ("ping".to_owned(), 1)]
    );
    assert!(calls(&mut client, "LATENCY HISTOGRAM nothing config|nothing").is_empty());
    client.ask("CONFIG RESETSTAT").assert_ok();
    assert_eq!(calls(&mut client, "LATENCY HISTOGRAM config"), [("config|resetstat".to_owned(), 1)]);

    client.send(
        b"HELLO 3\r\nCLIENT REPLY SKIP\r\nECHO a\r\nLATENCY HISTOGRAM echo\r\nLATENCY LATEST\r\nQUIT\r\n",
    );
    let mut text = String::new();
    client.socket.read_to_string(&mut text).unwrap();
    let shape = "\r\n%1\r\n$4\r\necho\r\n%2\r\n$5\r\ncalls\r\n:1\r\n$14\r\nhistogram_usec\r\n%1\r\n:";
    assert!(text.contains(shape) && text.ends_with("*0\r\n+OK\r\n"), "{text}");
}
