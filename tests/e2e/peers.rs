//! The load generator runs the same workload on the real binary and on a real Redis, and prints them side by side.

use std::process::Command;

use windrow_tests::server::binary;

use crate::clients::have;

#[test]
fn the_same_workload_runs_on_windrow_and_on_redis_side_by_side() {
    if !have("redis-server") {
        return;
    }
    let windrow = binary();
    let bench = windrow.with_file_name("windrow-bench");
    assert!(
        bench.is_file(),
        "no load generator at {}: run `cargo build -p windrow-bench` first",
        bench.display()
    );
    let mut command = Command::new(bench);
    command.args([
        "compare",
        "--contenders",
        "windrow,zset,plain,null",
        "--rounds",
        "1",
        "--duration",
        "0.2",
    ]);
    command.args(["--warmup", "0.1", "-m", "events", "-m", "reads", "-P", "4", "-c", "4", "-e", "1000"]);
    let output = command.arg("--windrow-bin").arg(&windrow).output().expect("the load generator runs");
    let shown =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}");
    for workload in ["events pipeline 4", "reads pipeline 4"] {
        for server in ["Windrow", "Redis sorted set", "Redis SET/GET", "null"] {
            assert!(
                shown.contains(&format!("| {workload} | {server} |")),
                "{workload} on {server} is missing in\n{shown}"
            );
        }
    }
}
