//! Bad input gets an error that says what is wrong; it never ends the process, nor anyone else's connection.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rstest::rstest;
use windrow_tests::resp::{Conn, Reply, encode, encode_words};
use windrow_tests::seed::seed;
use windrow_tests::server::{Launch, Server};

const STREAM: &str =
    "STREAM.CREATE s FIELDS f FLOAT n INT t STRING WINDOWS 5m 1h all AGGREGATE count sum(f) sum(n)";

/// Every one is refused, and leaves nothing behind.
const REFUSED: &[&str] = &[
    "EVENT.ADD",
    "EVENT.ADD e",
    "EVENT.ADD e s",
    "EVENT.ADD e nostream *",
    "EVENT.ADD e s x",
    "EVENT.ADD e s 1.5",
    "EVENT.ADD e s 8640000000000001",
    "EVENT.ADD e s -8640000000000001",
    "EVENT.ADD e s 99999999999999999999",
    "EVENT.ADD e s * f",
    "EVENT.ADD e s * f 1 n",
    "EVENT.ADD e s * nofield 1",
    "EVENT.ADD e s * F 1",
    "EVENT.ADD e s * f 1 f 2",
    "EVENT.ADD e s * f NaN",
    "EVENT.ADD e s * f nan",
    "EVENT.ADD e s * f inf",
    "EVENT.ADD e s * f -Infinity",
    "EVENT.ADD e s * f 1e400",
    "EVENT.ADD e s * f 0x10",
    "EVENT.ADD e s * f 1_000",
    "EVENT.ADD e s * f ten",
    "EVENT.ADD e s * n 1.0",
    "EVENT.ADD e s * n 9223372036854775808",
    "EVENT.ADD e s * n -9223372036854775809",
    "EVENT.ADD e s * n +1e3",
    "EVENT.ADD e s ID x *",
    "EVENT.MADD",
    "EVENT.MADD s",
    "EVENT.MADD s FIELDS",
    "EVENT.MADD s FIELDS 1 f",
    "EVENT.MADD s FIELDS 1 f EVENTS",
    "EVENT.MADD s FIELDS 1 f EVENTS e",
    "EVENT.MADD s FIELDS 1 f EVENTS e *",
    "EVENT.MADD s FIELDS 1 f EVENTS e * 1 e",
    "EVENT.MADD s FIELDS 2 f f EVENTS e * 1 2",
    "EVENT.MADD s FIELDS 1 nofield EVENTS e * 1",
    "EVENT.MADD s FIELDS -1 EVENTS e *",
    "EVENT.MADD s FIELDS 99999999999 f EVENTS e * 1",
    "EVENT.MADD s FIELDS x f EVENTS e * 1",
    "EVENT.MADD nostream FIELDS 1 f EVENTS e * 1",
    "WINDOW.GET",
    "WINDOW.GET e",
    "WINDOW.GET e nostream",
    "WINDOW.GET e s nofeature:5m",
    "WINDOW.GET e s count:5x",
    "WINDOW.GET e s count:",
    "WINDOW.GET e s :5m",
    "WINDOW.GET e s count",
    "WINDOW.GET e s sum(nofield):5m",
    "WINDOW.GET e s sum(f",
    "WINDOW.GET e s min(f):5m",
    "WINDOW.GET e s AT",
    "WINDOW.GET e s AT x count:5m",
    "WINDOW.GET e s AT 8640000000000001 count:5m",
    "WINDOW.GET e s count:-5m",
    "WINDOW.GET e s count:99999999999999999999d",
    "WINDOW.RANGE e s count 0",
    "WINDOW.RANGE e s count a b",
    "WINDOW.RANGE e s nothing 0 1",
    "STREAM.CREATE",
    "STREAM.DROP nostream",
    "STREAM.INFO nostream",
    "STREAM.NONSENSE s",
    "NONSENSE",
    "GET key",
];

#[rstest]
fn every_refused_command_says_why_and_applies_nothing(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    for command in REFUSED {
        let error = conn.fails(command);
        let (code, text) =
            error.split_once(' ').unwrap_or_else(|| panic!("{command}: {error:?} has no text"));
        assert!(code.chars().all(|letter| letter.is_ascii_uppercase()), "{command}: {error}");
        assert!(text.len() >= 8, "{command}: {error:?} says too little");
    }
    for (command, named) in [
        ("EVENT.ADD e nostream *", "nostream"),
        ("EVENT.ADD e s * nofield 1", "nofield"),
        ("EVENT.ADD e s * n 1.5", "1.5"),
        ("EVENT.ADD e s * f ten", "ten"),
        ("WINDOW.GET e s nofeature:5m", "nofeature"),
        ("EVENT.ADD e s yesterday", "yesterday"),
        ("NONSENSE", "NONSENSE"),
    ] {
        let error = conn.fails(command);
        assert!(
            error.to_lowercase().contains(&named.to_lowercase()),
            "{command}: {named} is not named in: {error}"
        );
    }
    assert_eq!(conn.fails("WINDOW.GET e"), "ERR wrong number of arguments for 'window.get' command");
    assert_eq!(counts(&mut conn, b"e"), [0, 0]);
    conn.ok("EVENT.ADD e s * f 1 n 2 t three");
    assert_eq!(counts(&mut conn, b"e"), [1, 1]);
}

#[rstest]
fn an_entity_has_one_to_1024_bytes_of_any_kind(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let every_byte: Vec<u8> = (0..=255).collect();
    for entity in [&[b'x'; 1024][..], b"\0", b"\r\n", b" ", &every_byte, "Zürich 🌍".as_bytes(), b"{tag}1"]
    {
        assert_eq!(conn.args(&[b"EVENT.ADD", entity, b"s", b"*"]), Reply::Simple("OK".into()));
        assert_eq!(counts(&mut conn, entity), [1, 1]);
    }
    for entity in [&b""[..], &[b'x'; 1025], &[b'x'; 2048], &[b'x'; 1 << 20]] {
        for command in
            [&[&b"EVENT.ADD"[..], entity, b"s", b"*"][..], &[b"WINDOW.GET", entity, b"s", b"count:5m"]]
        {
            let reply = conn.args(command);
            let error = reply.error().unwrap_or_else(|| panic!("{} bytes: {reply:?}", entity.len()));
            assert!(error.contains("1024") || error.contains("1,024"), "the limit is not named: {error}");
        }
    }
}

#[rstest]
fn a_bad_row_of_madd_fails_alone_and_null_is_absent(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let reply = conn.cmd("EVENT.MADD s FIELDS 2 f n NULL - EVENTS a * 1.5 2 b * - 3 c * x 4 d zz 1 1 e * 1 - f * - - g * 1 1.5");
    let replies: Vec<String> = reply
        .into_elements()
        .iter()
        .map(|reply| reply.error().map_or_else(|| reply.text(), |_| "error".into()))
        .collect();
    assert_eq!(replies, ["OK", "OK", "error", "error", "OK", "OK", "error"]);
    let mut row = |entity: &str| {
        conn.cmd(&format!("WINDOW.GET {entity} s count:5m sum(f):5m sum(n):all"))
            .into_elements()
            .iter()
            .map(Reply::text)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        ["a", "b", "c", "d", "e", "f", "g"].map(&mut row),
        ["1 1.5 2", "1 0 3", "0 0 0", "0 0 0", "1 1 0", "1 0 0", "0 0 0"]
    );
    // Without NULL the same token is a bad value.
    let replies = conn.cmd("EVENT.MADD s FIELDS 1 n EVENTS h * - h * 1").into_elements();
    assert!(replies[0].error().is_some() && replies[1] == Reply::Simple("OK".into()), "{replies:?}");
}

#[rstest]
fn lengths_beyond_the_limits_end_that_connection_with_an_error(#[values(1, 4)] shards: usize) {
    let mut server = Launch::shards(shards).start();
    let mut other = server.connect();
    for bytes in [
        &b"*1\r\n$1000000000000\r\n"[..],
        b"*1000000000\r\n",
        b"*2\r\n$4\r\nECHO\r\n$-7\r\n",
        b"*1\r\n$4294967297\r\n",
        b"*99999999999999999999\r\n",
        b"*1\r\n$x\r\n",
        b"*x\r\n",
        b"*1\r\n:5\r\n",
        b"*1\r\n+PING\r\n",
        b"*1\r\n$4\r\nPINGPING\r\n",
    ] {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let mut conn = server.connect();
        conn.send(bytes).unwrap();
        // Of a length that lies, the server may need to see what follows.
        let _ = conn.send(b"\r\n\r\n");
        let reply = conn.read().unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        let error = reply.error().unwrap_or_else(|| panic!("{shown:?}: {reply:?}"));
        assert!(error.contains("Protocol error"), "{shown:?}: {error}");
        assert!(conn.is_closed_by_server(), "{shown:?}: what follows cannot be understood");
        assert_unharmed(&mut server, &mut other);
    }
}

#[rstest]
fn an_empty_command_is_no_command(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    // As in Redis: a count of zero or less is skipped.
    conn.send(b"*0\r\n*-5\r\n\r\n*1\r\n$4\r\nPING\r\n").unwrap();
    assert_eq!(conn.read().unwrap(), Reply::Simple("PONG".into()));
}

#[rstest]
fn garbage_harms_nobody_else(#[values(1, 4)] shards: usize) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Launch::shards(shards).start();
    let mut other = server.connect();
    other.ok(STREAM);
    for _ in 0..200 {
        let mut garbage = vec![0; random.random_range(1..3000)];
        random.fill_bytes(&mut garbage);
        if random.random() {
            // Closer to the protocol: a true command with a few bytes changed.
            garbage = encode_words("EVENT.MADD s FIELDS 2 f n EVENTS e 1 1 1 e 2 2 2");
            for _ in 0..random.random_range(1..4) {
                let place = random.random_range(0..garbage.len());
                garbage[place] = random.random();
            }
        }
        let mut conn = server.connect();
        let _ = conn.send(&garbage);
    }
    // A line without an end.
    let mut conn = server.connect();
    let _ = conn.send(&vec![b'a'; 4 << 20]);
    assert_unharmed(&mut server, &mut other);
}

#[rstest]
fn half_a_command_waits_without_holding_anyone_up(#[values(1, 4)] shards: usize) {
    let mut server = Launch::shards(shards).start();
    let mut other = server.connect();
    other.ok(STREAM);
    let whole = encode_words("EVENT.ADD half s * f 1");
    let mut halves: Vec<Conn> = (0..20).map(|_| server.connect()).collect();
    for (cut, conn) in halves.iter_mut().enumerate() {
        conn.send(&whole[..whole.len() - 1 - cut]).unwrap();
    }
    assert_unharmed(&mut server, &mut other);
    assert_eq!(counts(&mut other, b"half"), [0, 0]);
    for (cut, conn) in halves.iter_mut().enumerate() {
        conn.send(&whole[whole.len() - 1 - cut..]).unwrap();
        assert_eq!(conn.read().unwrap(), Reply::Simple("OK".into()));
    }
    assert_eq!(counts(&mut other, b"half"), [20, 20]);
    // One byte at a time.
    for byte in &whole {
        other.send(&[*byte]).unwrap();
    }
    assert_eq!(other.read().unwrap(), Reply::Simple("OK".into()));
}

#[rstest]
fn a_hundred_thousand_commands_may_be_sent_before_a_reply_is_read(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let commands = 100_000;
    let mut pipeline = Vec::new();
    for number in 0..commands {
        pipeline.extend(encode(&[
            b"EVENT.ADD",
            format!("e{}", number % 1000).as_bytes(),
            b"s",
            b"*",
            b"n",
            b"1",
        ]));
    }
    conn.send(&pipeline).unwrap();
    for number in 0..commands {
        assert_eq!(conn.read().unwrap(), Reply::Simple("OK".into()), "command {number}");
    }
    assert_eq!(counts(&mut conn, b"e999"), [100, 100]);
}

#[rstest]
fn a_client_that_never_reads_is_held_back_or_dropped_alone(#[values(1, 4)] shards: usize) {
    let mut server = Launch::shards(shards).start();
    let mut other = server.connect();
    other.ok(STREAM);
    let deaf = server.connect();
    let mut writer = deaf.writer().unwrap();
    writer.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let command = encode(&[b"ECHO", &vec![b'x'; 64 << 10]]);
    let mut sent_bytes = 0_u64;
    // 1 GiB of replies that nobody reads: the server must stop reading, or close.
    let stopped = loop {
        match writer.write_all(&command) {
            Ok(()) => sent_bytes += command.len() as u64,
            Err(error) => break Some(error.kind()),
        }
        if sent_bytes > 1 << 30 {
            break None;
        }
        if sent_bytes.is_multiple_of(256) {
            assert_unharmed(&mut server, &mut other);
        }
    };
    let kind = stopped.expect("the server took a gigabyte of commands without a reply being read");
    let expected =
        [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    assert!(expected.contains(&kind), "{kind:?} after {sent_bytes} bytes");
    assert_unharmed(&mut server, &mut other);
}

/// The server runs, an older connection works, and so does a new one.
fn assert_unharmed(server: &mut Server, other: &mut Conn) {
    assert!(server.is_running(), "the server is gone");
    assert_eq!(other.cmd("PING"), Reply::Simple("PONG".into()));
    assert_eq!(server.connect().cmd("PING"), Reply::Simple("PONG".into()));
}

fn counts(conn: &mut Conn, entity: &[u8]) -> [i64; 2] {
    let row = conn.args(&[b"WINDOW.GET", entity, b"s", b"count:5m", b"count:all"]).into_elements();
    [row[0].int(), row[1].int()]
}
