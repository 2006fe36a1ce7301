//! Clients that were not written for Windrow: redis-rs, redis-cli, redis-benchmark.

use std::io::Write;
use std::process::Command;

use redis::{Connection, Value, cmd, pipe};
use rstest::rstest;
use windrow_tests::server::{Launch, Server};

const STREAM: [&str; 12] =
    ["s", "FIELDS", "v", "INT", "x", "FLOAT", "WINDOWS", "5m", "all", "AGGREGATE", "count", "sum(x)"];

fn connect(server: &Server, protocol: &str) -> Connection {
    let url = format!("redis://127.0.0.1:{}/?protocol={protocol}", server.port());
    redis::Client::open(url).expect("a valid address").get_connection().expect("redis-rs connects")
}

#[rstest]
fn redis_rs_speaks_both_protocols(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    for (protocol, entity) in [("resp2", "e2"), ("resp3", "e3")] {
        let mut conn = connect(&server, protocol);
        let ok: String = cmd("STREAM.CREATE").arg(&STREAM[..]).query(&mut conn).unwrap();
        assert_eq!(ok, "OK");
        for value in 1..=10 {
            let reply: String = cmd("EVENT.ADD")
                .arg(entity)
                .arg("s")
                .arg("*")
                .arg("x")
                .arg(f64::from(value) / 4.0)
                .query(&mut conn)
                .unwrap();
            assert_eq!(reply, "OK");
        }
        let row: (i64, f64) = cmd("WINDOW.GET")
            .arg(entity)
            .arg("s")
            .arg("count:5m")
            .arg("sum(x):all")
            .query(&mut conn)
            .unwrap();
        assert_eq!(row, (10, 13.75));
        let map: std::collections::BTreeMap<String, f64> =
            cmd("WINDOW.GET").arg(entity).arg("s").query(&mut conn).unwrap();
        assert_eq!(map["count:all"], 10.0);
        assert_eq!(map["sum(x):5m"], 13.75);
        let error = cmd("WINDOW.GET").arg(entity).arg("nostream").query::<Value>(&mut conn).unwrap_err();
        assert!(error.to_string().contains("nostream"), "{error}");
    }
}

#[rstest]
fn redis_rs_pipelines(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = connect(&server, "resp3");
    let _: String = cmd("STREAM.CREATE").arg(&STREAM[..]).query(&mut conn).unwrap();
    let mut pipeline = pipe();
    for number in 0..1000 {
        pipeline.cmd("EVENT.ADD").arg(format!("e{}", number % 10)).arg("s").arg("*").arg("x").arg(0.5);
    }
    pipeline.cmd("WINDOW.MGET").arg(2).arg("e0").arg("e9").arg("s").arg("count:all").arg("sum(x):5m");
    let replies: Vec<Value> = pipeline.query(&mut conn).unwrap();
    assert_eq!(replies.len(), 1001);
    let rows: Vec<(i64, f64)> = redis::from_redis_value(replies.into_iter().last().unwrap()).unwrap();
    assert_eq!(rows, [(100, 50.0), (100, 50.0)]);
}

#[rstest]
fn redis_cli_is_the_first_client_everybody_has(#[values(1, 4)] shards: usize) {
    if !have("redis-cli") {
        return;
    }
    let server = Launch::shards(shards).start();
    let cli = |args: &[&str]| run("redis-cli", server.port(), args);
    assert_eq!(cli(&["PING"]), "PONG");
    assert_eq!(cli(&[&["STREAM.CREATE"][..], &STREAM].concat()), "OK");
    assert_eq!(cli(&["EVENT.ADD", "user:42", "s", "*", "x", "12.5"]), "OK");
    assert_eq!(cli(&["WINDOW.GET", "user:42", "s", "count:5m", "sum(x):all"]), "1\n12.5");
    assert_eq!(cli(&["-3", "WINDOW.GET", "user:42", "s", "sum(x):all"]), "12.5");
    assert!(cli(&["-3", "WINDOW.GET", "user:42", "s"]).contains("count:5m"));
    assert!(cli(&["INFO"]).contains("tcp_port"));
    assert!(cli(&["WINDOW.GET", "user:42", "nostream"]).contains("nostream"));
    assert!(cli(&["COMMAND", "COUNT"]).parse::<u32>().unwrap() > 20);
    assert!(cli(&["CONFIG", "GET", "appendfsync"]).contains("everysec"));
    assert_eq!(cli(&["LASTSAVE"]), "0");
    assert_eq!(cli(&["SAVE"]), "OK");
    assert_ne!(cli(&["LASTSAVE"]), "0");
    assert_eq!(cli(&["BGSAVE"]), "Background saving started");
    assert!(cli(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:ok"));
    assert_eq!(cli(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]), "OK");
    assert_eq!(cli(&["WINDOW.GET", "user:42", "s", "count:5m"]), "1");
    let slow = cli(&["SLOWLOG", "GET", "1"]);
    let words: Vec<&str> = slow.lines().collect();
    assert_eq!((words.len(), &words[3..7]), (8, &["WINDOW.GET", "user:42", "s", "count:5m"][..]), "{slow}");
    assert!(words[7].starts_with("127.0.0.1:"), "{slow}");
    assert_eq!(cli(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]), "OK");
    assert_eq!(cli(&["SLOWLOG", "RESET"]), "OK");
    assert_eq!(cli(&["SLOWLOG", "LEN"]), "0");
    assert!(cli(&["SLOWLOG", "HELP"]).starts_with("SLOWLOG <subcommand>"));
    assert_eq!(cli(&["LATENCY", "LATEST"]), "");
    assert!(cli(&["LATENCY", "DOCTOR"]).contains("monitoring is off"));
    assert!(cli(&["LATENCY", "HISTOGRAM", "window.get"]).starts_with("window.get\ncalls\n"));
    assert!(cli(&["-3", "LATENCY", "HISTOGRAM"]).contains("event.add"));
    assert_eq!(cli(&["FLUSHALL", "ASYNC"]), "OK");
    assert_eq!(cli(&["DBSIZE"]), "0");
    assert_eq!(cli(&["STREAM.LIST"]), "s");
}

#[rstest]
fn redis_benchmark_runs_its_own_tests_and_ours(#[values(1, 4)] shards: usize) {
    if !have("redis-benchmark") {
        return;
    }
    let server = Launch::shards(shards).start();
    run("redis-cli", server.port(), &[&["STREAM.CREATE"][..], &STREAM].concat());
    let bench = |args: &[&str]| {
        let shown =
            run("redis-benchmark", server.port(), &[&["-q", "-n", "20000", "-c", "20"][..], args].concat());
        assert!(shown.contains("requests per second"), "{shown}");
        assert!(!shown.to_lowercase().contains("error"), "{shown}");
    };
    bench(&["-t", "ping"]);
    bench(&["-P", "16", "ECHO", "hello"]);
    bench(&["-P", "16", "-r", "1000", "EVENT.ADD", "user:__rand_int__", "s", "*", "x", "1.5"]);
    bench(&["-P", "16", "-r", "1000", "WINDOW.GET", "user:__rand_int__", "s", "sum(x):5m"]);
    let mut conn = server.connect();
    let mut total = 0;
    for number in 0..1000 {
        total += conn.cmd(&format!("WINDOW.GET user:{number:012} s count:all")).into_elements()[0].int();
    }
    assert!(total >= 20_000, "{total} of 20,000 events were counted");
}

/// Whether a program is there; a visible line when it is not.
pub fn have(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        let _ = writeln!(std::io::stderr(), "SKIP: {program} is not installed: its tests did not run");
    }
    found
}

fn run(program: &str, port: u16, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(["-p", &port.to_string()])
        .args(args)
        .output()
        .expect("it was there a moment ago");
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    assert!(output.status.success(), "{program} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
