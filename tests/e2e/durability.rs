//! What each `--appendfsync` mode survives. Power loss is the simulator's; here the process dies.

use rstest::rstest;
use windrow_tests::server::Launch;

use crate::load::{Load, STREAM, assert_counted_once};

fn survives_kill_9(shards: usize, mode: &str) {
    let launch = Launch::shards(shards).option("--appendfsync", mode);
    let server = launch.start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let load = Load::start(server.addr(), 3, mode);
    load.wait_for(30);
    // A read under load sees what was acknowledged to another connection.
    conn.ok("EVENT.ADD mine load * bits 1");
    assert_eq!(server.connect().cmd("WINDOW.GET mine load count:all").into_elements()[0].int(), 1);
    let home = server.kill();
    let ledger = load.finish();
    let server = launch.start_in(home);
    let mut conn = server.connect();
    assert_counted_once(&mut conn, &ledger, mode);
    assert_eq!(conn.cmd("WINDOW.GET mine load count:all").into_elements()[0].int(), 1);
}

#[rstest]
fn appendfsync_always_survives_kill_9(#[values(1, 4)] shards: usize) {
    survives_kill_9(shards, "always");
}

#[rstest]
fn appendfsync_everysec_survives_kill_9(#[values(1, 4)] shards: usize) {
    survives_kill_9(shards, "everysec");
}

#[rstest]
fn appendfsync_no_survives_kill_9(#[values(1, 4)] shards: usize) {
    survives_kill_9(shards, "no");
}
