//! The load generator runs the same workload on the real binary and on a real Redis, and prints them side by side.

use std::io::Write;
use std::process::Command;

use windrow_tests::server::binary;

use crate::clients::have;

/// What the load generator shows when it is run with these arguments, and succeeds.
fn shown_by_bench(args: &[&str]) -> String {
    let windrow = binary();
    let bench = windrow.with_file_name("windrow-bench");
    assert!(
        bench.is_file(),
        "no load generator at {}: run `cargo build -p windrow-bench` first",
        bench.display()
    );
    let output = Command::new(bench).args(args).arg("--windrow-bin").arg(&windrow).output();
    let output = output.expect("the load generator runs");
    let shown =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}");
    shown
}

#[test]
fn the_same_workload_runs_on_windrow_and_on_redis_side_by_side() {
    if !have("redis-server") {
        return;
    }
    let servers = ["Windrow", "Redis sorted set", "Redis Lua hash", "Redis SET/GET", "null"];
    let shown = compared("windrow,zset,lua,plain,null", &[], &servers);
    assert!(shown.contains("themselves: Windrow ") && shown.contains(", Redis "), "{shown}");
}

/// What a short comparison of events and reads shows; it must have a line for each of these servers.
fn compared(contenders: &str, more: &[&str], servers: &[&str]) -> String {
    let line = "compare --rounds 1 -d 0.2 --warmup 0.1 -m events,reads -P 4 -c 4 -e 1000 --fill --contenders";
    let mut args: Vec<&str> = line.split(' ').collect();
    args.push(contenders);
    args.extend(more);
    let shown = shown_by_bench(&args);
    for workload in ["events pipeline 4", "reads pipeline 4"] {
        for server in servers {
            assert!(
                shown.contains(&format!("| {workload} | {server} |")),
                "{workload} on {server} is missing in\n{shown}"
            );
        }
    }
    shown
}

#[test]
fn the_same_workload_runs_on_valkey() {
    if !have("valkey-server") {
        return;
    }
    let servers = ["Windrow", "Valkey sorted set", "Valkey hash", "Valkey Lua hash", "Valkey SET/GET"];
    let shown = compared("windrow,valkey-zset,valkey-hash,valkey-lua,valkey-plain", &[], &servers);
    assert!(shown.contains("themselves: Windrow ") && shown.contains(", Valkey "), "{shown}");
}

/// Names the file of a RedisTimeSeries module, with its arguments.
const MODULE: &str = "WINDROW_TEST_TS_MODULE";

fn time_series_module() -> Option<String> {
    std::env::var(MODULE).ok().filter(|module| !module.is_empty())
}

#[test]
fn the_same_workload_runs_on_redis_time_series() {
    let Some(module) = time_series_module() else {
        let skipped = format!("SKIP: {MODULE} does not name a RedisTimeSeries module: its test did not run");
        let _ = writeln!(std::io::stderr(), "{skipped}");
        return;
    };
    let shown = compared("windrow,ts", &["--ts-module", &module], &["Windrow", "RedisTimeSeries"]);
    assert!(shown.contains(" with RedisTimeSeries "), "{shown}");
}

#[test]
fn every_target_is_measured_against_its_contenders() {
    if !have("redis-server") {
        return;
    }
    let mut args = vec![
        "targets",
        "--rows",
        "C1,C2,C3,C4,C5,C6,C7,C8,C9,C10",
        "--rounds",
        "1",
        "--entities",
        "1000",
        "--large-entities",
        "2000",
        "--duration",
        "0.2",
        "--warmup",
        "0.05",
        "--connections",
        "4",
        "--idle-connections",
        "50",
        "--open-loop-scale",
        "0.02",
    ];
    let module = time_series_module();
    args.extend(module.iter().flat_map(|module| ["--ts-module", module.as_str()]));
    let shown = shown_by_bench(&args);
    for (row, workload, against) in [
        ("C1", "events, pipeline 64", "Redis sorted set"),
        ("C1", "events, pipeline 64", "RedisTimeSeries"),
        ("C1", "events, pipeline 64, zipf:0.99", "null"),
        ("C2", "events, pipeline 1", "Redis SET"),
        ("C3", "madd:64, pipeline 1", "null"),
        ("C4", "reads, pipeline 1: p99", "Redis GET"),
        ("C4", "reads, pipeline 64", "Redis GET"),
        ("C5", "mget:1000, rows", ""),
        ("C5", "mget:10000, one at a time: p99", ""),
        ("C6", "500 reads/s beside 10,000 events/s: p99", ""),
        ("C6", "500 reads/s beside 10,000 events/s: p99.9", "Redis GET"),
        ("C7", "an entity, 60 full buckets", ""),
        ("C7", "2,000 entities full, resident in all", ""),
        ("C8", "an entity, 2,000 grown from 1 to 60 buckets in step", ""),
        ("C8", "CPU time an event, pipeline 64, 2,000 entities", "2,000 entities"),
        ("C9", "events, pipeline 64, two shards", "one shard"),
        ("C10", "an idle connection", ""),
    ] {
        let line = shown.lines().find(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            cells.len() > 8 && cells[1] == row && cells[2] == workload && cells[4] == against
        });
        let line = line.unwrap_or_else(|| panic!("{row} {workload} {against} is missing in\n{shown}"));
        let absent = module.is_none() && line.contains("MODULE LIST shows no timeseries");
        assert_eq!(line.contains("not measured"), absent, "{line}");
    }
    assert!(shown.contains(": longest tick |"), "{shown}");
}
