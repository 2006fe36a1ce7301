//! What the hot path costs: instructions of a turn of a connection, from reading its socket to the last row's reply, counted by
//! Valgrind's callgrind. They hardly depend on the machine or on what else it does, as a time would.
//!
//! What is recorded are counts of the dev build, with its checks, on x86-64, by the compiler named in [`COMPILER`]; a change that takes more
//! than [`SLACK_PERCENT`] above one is to be looked at, and the figure recorded anew if it is worth it. Counts of a release build:
//! docs/performance.md. It takes some 10 seconds.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use windrow_tests::resp::{Conn, encode_words};
use windrow_tests::server::Launch;

use crate::clients::have;

/// Counts may be above what is recorded by so much: runs differ by one part in a hundred, compilers and what memcpy does on another
/// processor by more.
const SLACK_PERCENT: u64 = 20;
/// What the recorded figures are counted with.
const COMPILER: &str = "rustc 1.95";
/// What takes turns of connections: reads, parses, stages and executes. Nothing else is counted.
const COUNTED: &str = "--toggle-collect=*ShardLoop*take_turns*";
/// Entities, each with an event in all buckets.
const ENTITIES: usize = 256;
/// Buckets of a ring.
const BUCKETS: i64 = 60;
/// Commands of a pipeline, and rows of a command of many.
const ROWS: usize = 64;
/// Passes over all entities that are counted.
const PASSES: usize = 5;

/// Instructions for each event or row.
const RECORDED: [(&str, u64); 4] =
    [("EVENT.ADD", 4_770), ("EVENT.MADD", 4_180), ("WINDOW.GET", 6_200), ("WINDOW.MGET", 5_390)];

#[test]
fn an_event_and_a_row_take_no_more_instructions_than_recorded() {
    if !have("valgrind") || !have("callgrind_control") {
        return;
    }
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        let _ = writeln!(std::io::stderr(), "SKIP: no instructions are recorded for this kind of machine");
        return;
    }
    let counts = tempfile::tempdir().unwrap();
    let out = counts.path().join("out");
    let file = format!("--callgrind-out-file={}", out.display());
    let launch = Launch::shards(1).option("--maxmemory", "256mb").option("--save", "0");
    let server = launch.under(&["valgrind", "--tool=callgrind", COUNTED, &file]).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS amount FLOAT WINDOWS 5m@1m 1h@1m AGGREGATE count sum(amount)");
    fill(&mut conn);
    let (mut dumps, mut too_many) = (0, Vec::new());
    for (name, recorded) in RECORDED {
        let pipelines = pipelines(name);
        let mut pass = || pipelines.iter().for_each(|(bytes, replies)| run(&mut conn, bytes, *replies));
        // Buffers grow in the first one.
        pass();
        count(&out, server.pid(), &mut dumps);
        (0..PASSES).for_each(|_| pass());
        let each = count(&out, server.pid(), &mut dumps) / (PASSES * ENTITIES) as u64;
        println!("{name}: {each} instructions for each event or row, {recorded} recorded");
        assert!(each > recorded / 8, "{name}: {each} instructions: what {COUNTED} names is not there");
        if each > recorded + recorded * SLACK_PERCENT / 100 {
            too_many.push(format!("{name}: {each}, and {recorded} are recorded"));
        } else if each < recorded - recorded * SLACK_PERCENT / 100 {
            println!(
                "{name}: record it anew, or the test sees only what is much worse (is this a dev build?)"
            );
        }
    }
    drop(conn);
    server.stop();
    assert!(
        too_many.is_empty(),
        "instructions for each event or row, recorded of a dev build by {COMPILER}: {}",
        too_many.join("; ")
    );
}

fn entity(number: usize) -> String {
    format!("user:{number:07}")
}

fn fill(conn: &mut Conn) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for number in 0..ENTITIES {
        let mut words = "EVENT.MADD s FIELDS 1 amount EVENTS".to_owned();
        for bucket in (0..BUCKETS).rev() {
            words += &format!(" {} {} {bucket}.25", entity(number), now_ms - bucket * 60_000);
        }
        assert_eq!(conn.cmd(&words).into_elements().len(), BUCKETS as usize);
    }
}

/// A command for every entity, or for every so many: bytes of a pipeline, and how many replies it has.
fn pipelines(name: &str) -> Vec<(Vec<u8>, usize)> {
    let entities: Vec<String> = (0..ENTITIES).map(entity).collect();
    let each = |words: &dyn Fn(&str) -> String| {
        let of = |chunk: &[String]| chunk.iter().flat_map(|entity| encode_words(&words(entity))).collect();
        entities.chunks(ROWS).map(|chunk| (of(chunk), chunk.len())).collect()
    };
    let rows = |words: &dyn Fn(&[String]) -> String| {
        entities.chunks(ROWS).map(|chunk| (encode_words(&words(chunk)), 1)).collect()
    };
    match name {
        "EVENT.ADD" => each(&|entity| format!("EVENT.ADD {entity} s * amount 12.5")),
        "WINDOW.GET" => each(&|entity| format!("WINDOW.GET {entity} s count:1h sum(amount):1h")),
        "EVENT.MADD" => rows(&|chunk| {
            let rows: Vec<String> = chunk.iter().map(|entity| format!("{entity} * 12.5")).collect();
            format!("EVENT.MADD s FIELDS 1 amount EVENTS {}", rows.join(" "))
        }),
        "WINDOW.MGET" => {
            rows(&|chunk| format!("WINDOW.MGET {ROWS} {} s count:1h sum(amount):1h", chunk.join(" ")))
        }
        other => unreachable!("{other}"),
    }
}

fn run(conn: &mut Conn, bytes: &[u8], replies: usize) {
    conn.send(bytes).unwrap();
    for _ in 0..replies {
        let reply = conn.read().unwrap();
        assert_eq!(reply.error(), None);
    }
}

/// Instructions counted since this was last asked.
fn count(out: &Path, pid: u32, dumps: &mut u32) -> u64 {
    *dumps += 1;
    let control = Command::new("callgrind_control").args(["-d", &pid.to_string()]).output().unwrap();
    assert!(control.status.success(), "callgrind_control: {control:?}");
    let path = format!("{}.{dumps}", out.display());
    let dump = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let total =
        dump.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    total.and_then(|total| total.trim().parse().ok()).expect("a dump says how much it counted")
}
