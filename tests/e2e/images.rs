//! Starts from images, of the real binary on a real disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rstest::rstest;
use windrow_tests::resp::{Conn, Reply};
use windrow_tests::server::{Launch, Server};

use crate::load::{Load, STREAM, assert_counted_once};

/// For what a server does after a while.
const PATIENCE: Duration = Duration::from_secs(60);

fn info(conn: &mut Conn, name: &str) -> String {
    let text = conn.cmd("INFO persistence").text().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

fn images(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("images")).expect("a server makes this directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    paths.sort();
    paths
}

#[rstest]
fn a_save_under_load_and_a_kill_lose_nothing(#[values(1, 3)] shards: usize) {
    let launch = Launch::shards(shards);
    let server = launch.start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let load = Load::start(server.addr(), 3, "saved");
    for entities in [10, 60, 110] {
        load.wait_for(entities);
        conn.ok("SAVE");
        assert_eq!(info(&mut conn, "rdb_last_bgsave_status"), "ok");
    }
    assert_eq!(info(&mut conn, "image_number"), "3");
    load.wait_for(160);
    let home = server.kill();
    let ledger = load.finish();
    assert_eq!(images(&home.data()).len(), 2 * shards, "the newest two are kept");
    let server = launch.start_in(home);
    let mut conn = server.connect();
    assert_counted_once(&mut conn, &ledger, "from the image");
    // And on another number of shards.
    let home = server.kill();
    let server = Launch::shards(2).start_in(home);
    assert_counted_once(&mut server.connect(), &ledger, "from the image, on other shards");
}

#[test]
fn a_clean_stop_leaves_an_image_and_the_next_start_reads_no_log() {
    let launch = Launch::shards(2);
    let server = launch.start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let load = Load::start(server.addr(), 2, "stopped");
    load.wait_for(50);
    let ledger = load.finish();
    let home = server.stop();
    assert_eq!(images(&home.data()).len(), 2);
    let server = launch.start_in(home);
    let mut conn = server.connect();
    assert_counted_once(&mut conn, &ledger, "after a stop");
    assert_eq!(info(&mut conn, "loading_loaded_ops"), "0");
    assert_ne!(info(&mut conn, "rdb_last_save_time"), "0");
    assert_eq!(conn.cmd("LASTSAVE").int().to_string(), info(&mut conn, "rdb_last_save_time"));
}

#[test]
fn a_kill_in_the_midst_of_an_image_leaves_the_one_before_and_no_remains() {
    const ENTITIES: usize = 20_000;
    let launch = Launch::shards(2).option("--save-rate-limit", "1mb");
    let server = launch.start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    for bits in [1, 2] {
        for first in (0..ENTITIES).step_by(1_000) {
            let rows: String = (first..first + 1_000).map(|e| format!(" midst-{e:05} * {bits}")).collect();
            conn.cmd(&format!("EVENT.MADD load FIELDS 1 bits EVENTS{rows}"));
        }
        if bits == 1 {
            conn.ok("SAVE");
        }
    }
    assert_eq!(conn.cmd("BGSAVE").text(), "Background saving started");
    // Three megabytes and more, at one in a second.
    while info(&mut conn, "current_save_keys_processed") == "0" {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(info(&mut conn, "rdb_bgsave_in_progress"), "1");
    let home = server.kill();
    assert!(images(&home.data()).len() > 2, "there is a third file in preparation");
    let server = launch.start_in(home);
    let mut conn = server.connect();
    assert_eq!(info(&mut conn, "image_number"), "1");
    assert_eq!(images(&server.home().data()).len(), 2, "what was in preparation is gone");
    for first in (0..ENTITIES).step_by(1_000) {
        let entities: String = (first..first + 1_000).map(|e| format!(" midst-{e:05}")).collect();
        let rows = conn.cmd(&format!("WINDOW.MGET 1000{entities} load count:all sum(bits):all"));
        for row in rows.into_elements() {
            let row: Vec<i64> = row.into_elements().iter().map(Reply::int).collect();
            assert_eq!(row, [2, 3]);
        }
    }
}

/// Sends a command until it is answered: the server may start anew meanwhile.
fn in_the_end(server: &Server, words: &str) -> Reply {
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    let started = Instant::now();
    loop {
        if let Ok(reply) = Conn::open(server.addr()).and_then(|mut conn| conn.try_args(&words))
            && reply.error().is_none_or(|error| !error.starts_with("LOADING"))
        {
            return reply;
        }
        assert!(started.elapsed() < PATIENCE, "no answer:\n{}", server.home().log_tail());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_damaged_chunk_is_found_and_the_image_before_it_and_the_log_are_used() {
    const ENTITIES: usize = 5_000;
    let launch = Launch::shards(2);
    let server = launch.start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let fill = |conn: &mut Conn, bits: i64| {
        for first in (0..ENTITIES).step_by(500) {
            let rows: String = (first..first + 500).map(|e| format!(" damaged-{e:05} * {bits}")).collect();
            conn.cmd(&format!("EVENT.MADD load FIELDS 1 bits EVENTS{rows}"));
        }
    };
    fill(&mut conn, 1);
    conn.ok("SAVE");
    fill(&mut conn, 2);
    conn.ok("SAVE");
    fill(&mut conn, 4);
    let home = server.kill();
    // One bit in a record of the newest image.
    let newest = images(&home.data()).pop().expect("there are images");
    let mut bytes = fs::read(&newest).expect("an image can be read");
    let at = bytes.windows(8).position(|window| window == b"damaged-").expect("a record has its key");
    bytes[at + 2] ^= 0x10;
    fs::write(&newest, bytes).expect("an image can be written");
    let mut server = launch.start_in(home);
    for first in (0..ENTITIES).step_by(1_000) {
        let entities: String = (first..first + 1_000).map(|e| format!(" damaged-{e:05}")).collect();
        let rows = in_the_end(&server, &format!("WINDOW.MGET 1000{entities} load count:all sum(bits):all"));
        for row in rows.into_elements() {
            let row: Vec<i64> = row.into_elements().iter().map(Reply::int).collect();
            assert_eq!(row, [3, 7]);
        }
    }
    assert!(server.is_running(), "it is the same process");
    let said = server.home().log_tail();
    assert!(said.contains("damaged") && said.contains("anew"), "{said}");
    let mut conn = server.connect();
    assert_eq!(info(&mut conn, "image_number"), "1", "{said}");
    let left = images(&server.home().data());
    assert!(left.iter().any(|path| path.to_string_lossy().ends_with(".damaged")), "{left:?}");
    assert_eq!(conn.cmd("DBSIZE").int(), ENTITIES as i64);
}
