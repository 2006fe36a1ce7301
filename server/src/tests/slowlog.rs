//! What SLOWLOG keeps, and what it does not.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use windrow_storage::disk::MemDisk;

use super::harness::{Client, Reply, command, config, start, start_at, start_on};
use crate::Config;
use crate::clock::Clock;

/// An entry of SLOWLOG GET.
#[derive(Debug)]
struct Entry {
    id: i64,
    at_s: i64,
    took_us: i64,
    words: Vec<String>,
    peer: String,
    name: String,
}

impl Entry {
    fn read(reply: Reply) -> Self {
        let [Reply::Int(id), Reply::Int(at_s), Reply::Int(took_us), words, peer, name] =
            <[Reply; 6]>::try_from(reply.array()).expect("an entry has six parts")
        else {
            panic!("an entry begins with three integers");
        };
        let words = words.array().into_iter().map(Reply::text).collect();
        Entry { id, at_s, took_us, words, peer: peer.text(), name: name.text() }
    }

    fn line(&self) -> String {
        self.words.join(" ")
    }

    /// How many commands it stands for.
    fn commands(&self) -> usize {
        self.and_more(" more commands)")
    }

    /// How many rows of a command.
    fn rows(&self) -> usize {
        self.and_more(" more rows)")
    }

    fn and_more(&self, of: &str) -> usize {
        let more = |word: &String| word.strip_prefix("... (")?.strip_suffix(of)?.parse::<usize>().ok();
        1 + self.words.iter().find_map(more).unwrap_or(0)
    }
}

/// All entries, the oldest first.
#[track_caller]
fn entries(client: &mut Client) -> Vec<Entry> {
    client.ask("SLOWLOG GET -1").array().into_iter().rev().map(Entry::read).collect()
}

#[track_caller]
fn lines(client: &mut Client) -> Vec<String> {
    entries(client).iter().map(Entry::line).collect()
}

/// A server that keeps every command.
fn keeping_all(shards: usize) -> Config {
    Config { slowlog_slower_than_us: 0, ..config(shards) }
}

#[test]
fn under_threshold_zero_every_command_is_kept_as_it_was_sent() {
    for shards in [1, 4] {
        let running = start_on(keeping_all(shards), Arc::new(MemDisk::new()));
        let mut client = Client::connect(&running);
        let sent = [
            "PING",
            "STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count sum(v) DEDUP 10m",
            "EVENT.ADD a s ID one * v 1",
            "EVENT.ADD b s * v 2",
            "EVENT.ADD c s * v 3",
            "EVENT.ADD d s * v x",
            "event.add e s * v 4",
            "WINDOW.GET a s count:1h",
            "WINDOW.GET b s",
            "EVENT.MADD s FIELDS 1 v EVENTS a * 5 b * 6 c * 7 d * 8 e * 9 f * 10",
            "WINDOW.MGET 3 a b c s sum(v):1h",
            "WINDOW.JOIN 2 a s b s FEATURES 1 count:1h",
            "WINDOW.RANGE a s count 0 60000000000",
            "WINDOW.TOP s count:1h 2",
            "ENTITY.INFO a s",
            "ENTITY.DEL a s",
            "ENTITY.DEL b",
            "ENTITY.SCAN s 0",
            "STREAM.INFO s",
            "CONFIG GET maxmemory",
            "WINDOW.GET a nope",
            "FLUSHALL",
        ];
        for words in sent {
            client.ask(words);
        }
        assert_eq!(lines(&mut client), sent, "on {shards} shards");
        // The one that asked is kept, too.
        assert_eq!(lines(&mut client).last().unwrap(), "SLOWLOG GET -1");
    }
}

#[test]
fn pipelined_commands_are_each_kept() {
    for shards in [1, 4] {
        let running =
            start_on(Config { slowlog_len_max: 10_000, ..keeping_all(shards) }, Arc::new(MemDisk::new()));
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count").assert_ok();
        client.ask("SLOWLOG RESET").assert_ok();
        let mut bytes = Vec::new();
        let mut sent = vec!["SLOWLOG RESET".to_owned()];
        for i in 0..700 {
            for words in
                [format!("EVENT.ADD e{i} s * v {i}"), format!("WINDOW.GET e{i} s"), "PING".to_owned()]
            {
                command(&mut bytes, &words);
                sent.push(words);
            }
        }
        client.send(&bytes);
        for _ in 1..sent.len() {
            client.read();
        }
        let mut kept = lines(&mut client);
        // A command that another shard answers is done when the answer is there.
        kept.sort();
        sent.sort();
        assert_eq!(kept, sent, "on {shards} shards");
    }
}

#[test]
fn a_command_over_many_rows_is_one_entry_with_what_all_its_slices_took() {
    for shards in [1, 4] {
        let running =
            start_on(Config { slowlog_slower_than_us: 1_000, ..config(shards) }, Arc::new(MemDisk::new()));
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
        // No machine counts so many events in a millisecond.
        const ROWS: usize = 200_000;
        let rows: String = (0..ROWS).map(|i| format!(" e{i} *")).collect();
        client.ask("SLOWLOG RESET").assert_ok();
        assert_eq!(client.ask(&format!("EVENT.MADD s FIELDS 0 EVENTS{rows}")).array().len(), ROWS);
        let kept = entries(&mut client);
        let madd: Vec<&Entry> = kept.iter().filter(|entry| entry.words[0] == "EVENT.MADD").collect();
        assert_eq!((madd.len(), madd[0].commands()), (1, 1), "{kept:?}");
        assert_eq!(madd[0].words[..6], ["EVENT.MADD", "s", "FIELDS", "0", "EVENTS", "e0"]);
        assert_eq!(madd[0].words[31], format!("... ({} more arguments)", 5 + 2 * ROWS - 31));
        assert!(madd[0].took_us >= 1_000);
    }
}

/// Entities whose features take a millisecond to read.
const HEAVY: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Makes them in stream `h`; gives the features.
fn make_heavy(client: &mut Client) -> String {
    client
        .ask("STREAM.CREATE h FIELDS v FLOAT WINDOWS 12h@1m AGGREGATE quantile(v,0.5) CLOCK EVENT")
        .assert_ok();
    for entity in HEAVY {
        let rows: String =
            (0..2_000).map(|i| format!(" {entity} {} {}", i * 21_000, 1_u64 << (i % 40))).collect();
        let replies = client.ask(&format!("EVENT.MADD h FIELDS 1 v EVENTS{rows}")).array();
        assert!(replies.iter().all(|reply| *reply == Reply::Simple("OK".into())));
    }
    " quantile(v,0.5):12h".repeat(500)
}

#[test]
fn every_slow_read_is_accounted_for_whether_it_was_timed_alone_or_with_others() {
    for shards in [1, 4] {
        let running =
            start_on(Config { slowlog_slower_than_us: 1_000, ..config(shards) }, Arc::new(MemDisk::new()));
        let mut client = Client::connect(&running);
        let features = make_heavy(&mut client);
        client.ask("SLOWLOG RESET").assert_ok();
        let mut bytes = Vec::new();
        // The reads of other shards' entities follow the events through the rings.
        for entity in HEAVY {
            command(&mut bytes, &format!("EVENT.ADD {entity} h 42000000 v 1"));
            command(&mut bytes, &format!("WINDOW.GET {entity} h{features}"));
        }
        client.send(&bytes);
        for _ in HEAVY {
            client.read().assert_ok();
            assert_eq!(client.read().array().len(), 500);
        }
        let mut kept = entries(&mut client);
        // A thread that was held up makes any command slow.
        kept.retain(|entry| entry.words[0] == "WINDOW.GET");
        let commands: usize = kept.iter().map(Entry::commands).sum();
        assert!(commands >= HEAVY.len(), "on {shards} shards: {kept:?}");
        assert!(kept.iter().all(|entry| entry.took_us >= 1_000 && entry.words[2] == "h"), "{kept:?}");
    }
}

#[test]
fn slow_rows_of_a_command_are_one_entry_a_batch_and_no_other_command_is_counted_in() {
    for shards in [1, 4] {
        let running =
            start_on(Config { slowlog_slower_than_us: 5_000, ..config(shards) }, Arc::new(MemDisk::new()));
        let mut client = Client::connect(&running);
        let features = make_heavy(&mut client);
        client.ask("SLOWLOG RESET").assert_ok();
        // Fewer rows than are timed on their own; in all they take a hundred times the threshold.
        const ROWS: usize = 240;
        let entities: String = HEAVY.iter().cycle().take(ROWS).map(|entity| format!(" {entity}")).collect();
        assert_eq!(client.ask(&format!("WINDOW.MGET {ROWS}{entities} h{features}")).array().len(), ROWS);
        let kept = entries(&mut client);
        let mgets: Vec<&Entry> = kept.iter().filter(|entry| entry.words[0] == "WINDOW.MGET").collect();
        assert!(mgets.iter().all(|mget| mget.took_us >= 5_000 && mget.commands() == 1), "{kept:?}");
        // A row takes a part of the threshold: a batch of more than some is slow.
        let rows: usize = mgets.iter().map(|mget| mget.rows()).sum();
        assert!(rows > ROWS / 2 && rows <= ROWS && mgets.len() < ROWS / 8, "{rows}: {kept:?}");
        assert!(!kept.iter().any(|entry| entry.words[0] == "WINDOW.GET"), "{kept:?}");
    }
}

#[test]
fn what_the_log_takes_stands_in_memory_stats() {
    let running = start_on(keeping_all(1), Arc::new(MemDisk::new()));
    let mut client = Client::connect(&running);
    let held = |client: &mut Client| {
        let words = client.ask("MEMORY STATS").array();
        let at = words.iter().position(|word| *word == Reply::Bulk("slowlog.bytes".into())).unwrap();
        let Reply::Int(bytes) = words[at + 1] else { panic!("it is a number") };
        bytes
    };
    for i in 0..100 {
        client.ask(&format!("ECHO {}", "x".repeat(i)));
    }
    client.ask("CONFIG SET slowlog-log-slower-than -1").assert_ok();
    let bytes = held(&mut client);
    assert!(bytes > 100 * 128, "{bytes}");
    client.ask("SLOWLOG RESET").assert_ok();
    assert_eq!(held(&mut client), 0);
}

#[test]
fn an_entry_says_when_how_long_what_and_who() {
    let time_ms = Arc::new(AtomicI64::new(1_700_000_000_999));
    let running = start_at(keeping_all(2), Arc::new(MemDisk::new()), Clock::manual(time_ms));
    let mut client = Client::connect(&running);
    client.ask("CLIENT SETNAME me").assert_ok();
    client.ask("ECHO hello");
    let mut other = Client::connect(&running);
    let kept = entries(&mut other);
    assert_eq!((kept[0].id, kept[1].id), (0, 1));
    assert_eq!(kept[1].line(), "ECHO hello");
    assert_eq!((kept[1].at_s, kept[1].name.as_str()), (1_700_000_000, "me"));
    assert!(kept[1].took_us >= 0);
    assert_eq!(kept[1].peer, client.socket.local_addr().unwrap().to_string());
}

#[test]
fn get_replies_the_newest_first_and_as_many_as_asked() {
    let running = start_on(Config { slowlog_len_max: 20, ..keeping_all(1) }, Arc::new(MemDisk::new()));
    let mut client = Client::connect(&running);
    for i in 0..30 {
        client.ask(&format!("ECHO {i}"));
    }
    client.ask("CONFIG SET slowlog-log-slower-than -1").assert_ok();
    assert_eq!(client.ask("SLOWLOG LEN"), Reply::Int(20));
    let ids = |client: &mut Client, words: &str| -> Vec<i64> {
        client.ask(words).array().into_iter().map(|entry| Entry::read(entry).id).collect()
    };
    // The change itself was the last one to be executed under threshold zero, and is not kept any more.
    assert_eq!(ids(&mut client, "SLOWLOG GET"), (20..30).rev().collect::<Vec<_>>());
    assert_eq!(ids(&mut client, "SLOWLOG GET 2"), [29, 28]);
    assert!(ids(&mut client, "SLOWLOG GET 0").is_empty());
    assert_eq!(ids(&mut client, "SLOWLOG GET -1"), (10..30).rev().collect::<Vec<_>>());
    for words in ["SLOWLOG GET -2", "SLOWLOG GET x", "SLOWLOG GET 1.5"] {
        client.ask(words).assert_error("ERR count should be greater than or equal to -1");
    }
    client.ask("SLOWLOG GET 1 2").assert_error("wrong number of arguments for 'slowlog|get'");
    client.ask("SLOWLOG NOTHING").assert_error("unknown subcommand 'NOTHING'");
    client.ask("SLOWLOG RESET").assert_ok();
    assert_eq!(client.ask("SLOWLOG LEN"), Reply::Int(0));
    assert!(client.ask("SLOWLOG GET").array().is_empty());
    client.ask("CONFIG SET slowlog-max-len 2 slowlog-log-slower-than 0").assert_ok();
    for _ in 0..5 {
        client.ask("PING");
    }
    assert_eq!(client.ask("SLOWLOG LEN"), Reply::Int(2));
    let help = client.ask("SLOWLOG HELP").array();
    assert!(help.iter().all(|line| matches!(line, Reply::Simple(_))) && help.len() > 4, "{help:?}");
}

#[test]
fn no_password_stands_in_the_log() {
    let running = start_on(keeping_all(2), Arc::new(MemDisk::new()));
    let mut client = Client::connect(&running);
    client.ask("CONFIG SET requirepass S3cret").assert_ok();
    client.ask("AUTH S3cret").assert_ok();
    client.ask("AUTH default S3cret").assert_ok();
    client.ask("AUTH default S3cret-wrong").assert_error("WRONGPASS");
    client.ask("HELLO 2 AUTH default S3cret SETNAME me").array();
    client.ask("HELLO 9 AUTH default S3cret").assert_error("NOPROTO");
    client.ask("CONFIG SET nothing 1 requirepass S3cret").assert_error("Unknown option");
    client.ask("CONFIG SET requirepass S3cret timeout").assert_error("wrong number");
    let kept = lines(&mut client);
    assert_eq!(kept.len(), 8, "{kept:?}");
    assert!(kept.iter().all(|line| !line.contains("S3cret") && line.contains("(redacted)")), "{kept:?}");
}

#[test]
fn commands_that_are_refused_before_they_are_executed_are_not_kept() {
    let running =
        start_on(Config { requirepass: "S3cret".into(), ..keeping_all(2) }, Arc::new(MemDisk::new()));
    let mut client = Client::connect(&running);
    client.ask("PING").assert_error("NOAUTH");
    client.ask("SLOWLOG GET").assert_error("NOAUTH");
    client.ask("AUTH S3cret").assert_ok();
    client.ask("NOTHING at all").assert_error("unknown command");
    client.ask("ECHO").assert_error("wrong number");
    client.ask("SELECT 7").assert_error("out of range");
    assert_eq!(lines(&mut client), ["AUTH (redacted)", "SELECT 7"]);
}

#[test]
fn nothing_is_kept_below_the_threshold_or_without_one() {
    let running = start(2);
    let mut client = Client::connect(&running);
    let threshold = client.ask("CONFIG GET slowlog-*").array().into_iter().map(Reply::text);
    assert_eq!(threshold.collect::<Vec<_>>(), ["slowlog-log-slower-than", "10000", "slowlog-max-len", "128"]);
    // Ten days.
    for threshold in ["-1", "864000000000"] {
        client.ask(&format!("CONFIG SET slowlog-log-slower-than {threshold}")).assert_ok();
        client.ask("SLOWLOG RESET").assert_ok();
        client.ask("PING");
        client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
        client.ask("EVENT.ADD e s *").assert_ok();
        client.ask("WINDOW.GET e s");
        assert_eq!(client.ask("SLOWLOG LEN"), Reply::Int(0), "{threshold}");
    }
    client.ask("CONFIG SET slowlog-log-slower-than -2").assert_error("not a whole number");
    client.ask("CONFIG SET slowlog-max-len -1").assert_error("not a whole number");
}
