//! What the commands say of a directory that no server uses, and which of them leave it as it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use windrow_durability::CatalogueStore;
use windrow_engine::catalogue::Created;
use windrow_engine::{Catalogue, HashKey, form, op};
use windrow_storage::{Idle, Started};
use windrow_window::Definition;

use super::*;
use crate::{Config, Running, Server};

const KEY: u128 = 7;
const NOW_MS: i64 = 1_700_000_000_000;
/// Longer than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the command line prints, and its outcome.
fn windrow_log(arguments: &[&str], dir: &Path) -> (String, Result<(), String>) {
    let mut line = vec!["log", arguments[0], dir.to_str().unwrap()];
    line.extend(&arguments[1..]);
    let matches = command().try_get_matches_from(line).unwrap_or_else(|error| panic!("{error}"));
    let mut out = Vec::new();
    let outcome = run(&matches, &mut out).map_err(|error| error.to_string());
    (String::from_utf8(out).unwrap(), outcome)
}

fn catalogue() -> Catalogue {
    let text = "FIELDS amount FLOAT n INT item STRING WINDOWS 1h@1m AGGREGATE count DEDUP 10m";
    let definition = Definition::parse_text("purchases", text).unwrap();
    match Catalogue::default().created(definition, NOW_MS).unwrap() {
        Created::New(catalogue) => catalogue,
        Created::Same => unreachable!("the catalogue was empty"),
    }
}

/// A start of a log with two shards.
fn start(dir: &Path) -> Started {
    let recovery = Recovery::open(Arc::new(RealDisk), dir, StorageOptions::new(1), KEY).unwrap();
    recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {}).unwrap().start(2, NOW_MS).unwrap()
}

fn append(started: &mut Started, shard: usize, ops: &[Vec<u8>]) {
    started.logs[shard].0.append(NOW_MS + 5, ops.len() as u32, &ops.concat()).unwrap();
}

/// Makes all that was appended durable, and says so on disk.
fn settle(started: &mut Started) {
    for (log, syncer) in &mut started.logs {
        while log.state_durable(NOW_MS + 5).unwrap() == Idle::Sync {
            syncer.sync().unwrap();
        }
    }
}

fn event(catalogue: &Catalogue, entity: &str, rest: &[&str]) -> Vec<u8> {
    let stream = catalogue.stream(b"purchases").unwrap();
    let mut out = Vec::new();
    let rest = rest.iter().map(|word| word.as_bytes());
    form::encode_add(&mut out, stream, entity.as_bytes(), rest, NOW_MS, &HashKey([1, 2])).unwrap();
    out
}

/// A directory with a stream, and operations of two epochs; the last is torn off the second.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = catalogue();
    let mut started = start(dir.path());
    let ts = NOW_MS.to_string();
    let mut anew = event(&catalogue, "user:1", &[&ts, "amount", "3.5", "item", "a \"b\""]);
    op::mark_anew(&mut anew);
    let marked = event(&catalogue, "user:1", &["ID", "x", "SOURCE", "kafka", "12", &ts, "n", "-4"]);
    let mut removal = Vec::new();
    op::encode_remove(&mut removal, catalogue.stream(b"purchases").unwrap().layout_id, b"user:1", true);
    append(&mut started, 0, &[anew, marked]);
    append(&mut started, 0, &[removal]);
    settle(&mut started);
    CatalogueStore::new(started.directory).save(&catalogue).unwrap();
    let mut started = start(dir.path());
    for _ in 0..3 {
        append(&mut started, 1, &[event(&catalogue, "user:2", &["1699999999000"])]);
    }
    settle(&mut started);
    append(&mut started, 1, &[event(&catalogue, "user:3", &["*"])]);
    dir
}

/// A log file of the directory.
fn log_file(dir: &Path, name: &str) -> PathBuf {
    dir.join("log").join(name)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Every file and its bytes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().chain(fs::read_dir(dir.join("log")).unwrap());
    let files = files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

fn config(dir: &Path) -> Config {
    Config { port: 0, shards: 1, dir: dir.into(), pin_shards: false, ..Config::default() }
}

/// What a server says that does not start.
fn refusal(dir: &Path) -> String {
    Server::start(config(dir)).and_then(Running::wait).unwrap_err().to_string()
}

fn serve(dir: &Path) -> Running {
    let running = Server::start(config(dir)).unwrap();
    let started = Instant::now();
    while !running.is_serving() {
        assert!(started.elapsed() < PATIENCE, "the server does not get ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    running
}

#[test]
fn verify_says_what_is_there_and_changes_nothing() {
    let dir = directory();
    let before = contents(dir.path());
    let (said, outcome) = windrow_log(&["verify"], dir.path());
    assert_eq!(outcome, Ok(()));
    let expected = "epoch 1 shard 0: 3 operations, 1 to 3\nepoch 1 shard 1: no operations\n\
                    epoch 2 shard 0: no operations\nepoch 2 shard 1: 4 operations, 1 to 4\n7 operations in 4 logs\n";
    assert_eq!(said, expected);
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn verify_tells_a_torn_end_from_corruption_by_what_it_says_and_how_it_ends() {
    let dir = directory();
    // Three groups and an empty frame of the second epoch take equal parts of what is there; find them by their magic.
    let path = log_file(dir.path(), "00000002-0001-00000000.wal");
    let frames: Vec<usize> = {
        let bytes = fs::read(&path).unwrap();
        (4096..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"WFRM")).collect()
    };
    assert_eq!(frames.len(), 5, "three, the statement, and one that no frame states durable");
    flip(&path, frames[4] + 60);
    let (said, outcome) = windrow_log(&["verify"], dir.path());
    assert_eq!(outcome, Ok(()), "{said}");
    assert!(said.contains("3 operations, 1 to 3\n  a torn end") && said.contains("checksum"), "{said}");
    flip(&path, frames[1] + 60);
    let (said, outcome) = windrow_log(&["verify"], dir.path());
    assert!(
        said.contains("1 operations, 1 to 1\n  corrupt") && said.contains(path.to_str().unwrap()),
        "{said}"
    );
    let reason = outcome.unwrap_err();
    assert!(reason.contains("corrupt in 1 places") && reason.contains("windrow log repair"), "{reason}");
}

#[test]
fn dump_prints_an_operation_a_line_with_the_names_of_the_catalogue() {
    let dir = directory();
    let (said, outcome) = windrow_log(&["dump"], dir.path());
    assert_eq!(outcome, Ok(()));
    let lines: Vec<&str> = said.lines().collect();
    let head = format!("shard=0 now={}", NOW_MS + 5);
    let ts = format!("ts={NOW_MS} clock={NOW_MS}");
    assert_eq!(
        lines[0],
        format!(r#"1:1 {head} EVENT "user:1" stream=purchases {ts} amount=3.5 item="a \"b\"" anew"#)
    );
    assert!(
        lines[1].starts_with(&format!(r#"1:2 {head} EVENT "user:1" stream=purchases {ts} n=-4 id#"#)),
        "{}",
        lines[1]
    );
    assert!(lines[1].contains(" source#") && lines[1].ends_with(" seq=12"), "{}", lines[1]);
    assert_eq!(lines[2], format!(r#"1:3 {head} DELETE "user:1" stream=purchases"#));
    assert!(lines[3].starts_with("2:1 shard=1 ") && lines[3].contains("ts=1699999999000"), "{}", lines[3]);
    assert_eq!(lines.len(), 7);
}

#[test]
fn dump_begins_and_ends_where_it_is_told_and_keeps_to_a_shard() {
    let dir = directory();
    let positions = |arguments: &[&str]| -> Vec<String> {
        let (said, outcome) = windrow_log(arguments, dir.path());
        assert_eq!(outcome, Ok(()), "{arguments:?}");
        said.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(positions(&["dump", "--from", "1:2", "--limit", "3"]), ["1:2", "1:3", "2:1"]);
    assert_eq!(positions(&["dump", "--from", "2"]), ["2:1", "2:2", "2:3", "2:4"]);
    assert_eq!(positions(&["dump", "--from", "2:4", "--shard", "1"]), ["2:4"]);
    assert_eq!(positions(&["dump", "--shard", "0"]), ["1:1", "1:2", "1:3"]);
    assert_eq!(positions(&["dump", "--limit", "0"]), [""; 0]);
    assert_eq!(positions(&["dump", "--from", "3:1"]), [""; 0]);
    for bad in ["x", "1:", ":1", "1:2:3", "99999999:1"] {
        let line = ["log", "dump", "/nowhere", "--from", bad];
        let refused = command().try_get_matches_from(line).unwrap_err().to_string();
        assert!(refused.contains("--from"), "{refused}");
    }
}

#[test]
fn dump_prints_what_it_can_of_a_stream_that_was_dropped_and_says_where_damage_begins() {
    let dir = directory();
    let mut started = start(dir.path());
    started.directory.update_catalogue(|catalogue| catalogue.streams.clear()).unwrap();
    drop(started);
    let (said, outcome) = windrow_log(&["dump", "--limit", "1"], dir.path());
    assert_eq!(outcome, Ok(()));
    assert!(said.contains("stream=? layout=0") && said.contains("bytes="), "{said}");
    let path = log_file(dir.path(), "00000002-0001-00000000.wal");
    flip(&path, 4096 + 60);
    let (said, outcome) = windrow_log(&["dump"], dir.path());
    let reason = outcome.unwrap_err();
    assert!(reason.contains("operations are missing") && reason.contains(path.to_str().unwrap()), "{reason}");
    assert_eq!(said.lines().count(), 3, "those before it are printed: {said}");
}

#[test]
fn a_reader_of_the_output_that_has_seen_enough_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let dir = directory();
    assert!(dump::dump(dir.path(), &Selection::default(), &mut Closed).is_ok());
    assert!(verify::verify(dir.path(), &mut Closed).is_ok());
}

#[test]
fn a_corrupt_log_is_refused_and_repaired_only_when_told_to() {
    let dir = directory();
    let (said, outcome) = windrow_log(&["repair", "--yes"], dir.path());
    assert_eq!((said.as_str(), outcome), ("nothing to repair: 7 operations can be read\n", Ok(())));
    let path = log_file(dir.path(), "00000001-0000-00000000.wal");
    // In the first frame, behind the segment's header block of 4,096 bytes.
    flip(&path, 4096 + 60);
    let refused = refusal(dir.path());
    assert!(refused.contains("windrow log repair"), "{refused}");
    let before = contents(dir.path());
    let (said, outcome) = windrow_log(&["repair"], dir.path());
    assert_eq!(outcome, Ok(()));
    assert!(said.contains("would give up") && said.contains(path.to_str().unwrap()), "{said}");
    assert!(said.contains("4 operations remain") && said.contains("--yes"), "{said}");
    assert_eq!(contents(dir.path()), before, "nothing was changed");
    assert!(refusal(dir.path()).contains("windrow log repair"));
    let (said, outcome) = windrow_log(&["repair", "--yes"], dir.path());
    assert_eq!(outcome, Ok(()));
    assert!(said.starts_with("gave up"), "{said}");
    serve(dir.path()).shutdown().unwrap();
}

#[test]
fn repair_gives_no_log_up_from_its_beginning_because_images_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let running = serve(dir.path());
    let mut client = TcpStream::connect(running.addr()).unwrap();
    client.write_all(b"STREAM.CREATE s WINDOWS all AGGREGATE count\r\nEVENT.ADD e s *\r\nSAVE\r\n").unwrap();
    let mut replies = [0; 3 * 5];
    client.read_exact(&mut replies).unwrap();
    assert_eq!(&replies, b"+OK\r\n+OK\r\n+OK\r\n");
    running.shutdown().unwrap();
    // With the image, the beginning of the log is not needed.
    fs::remove_file(log_file(dir.path(), "00000001-0000-00000000.wal")).unwrap();
    serve(dir.path()).shutdown().unwrap();
    for image in fs::read_dir(dir.path().join("images")).unwrap() {
        fs::remove_file(image.unwrap().path()).unwrap();
    }
    let refused = refusal(dir.path());
    assert!(refused.contains("copy of this directory") && !refused.contains("repair"), "{refused}");
    let before = contents(dir.path());
    let (said, outcome) = windrow_log(&["repair", "--yes"], dir.path());
    assert_eq!(said, "");
    assert!(outcome.unwrap_err().contains("no image"));
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_folder_that_is_no_data_directory_or_is_in_use_is_left_alone() {
    let empty = tempfile::tempdir().unwrap();
    let dir = directory();
    let held = start(dir.path());
    let before = contents(dir.path());
    for command in ["verify", "dump", "repair"] {
        let (said, outcome) = windrow_log(&[command], empty.path());
        assert_eq!(said, "");
        assert!(outcome.unwrap_err().contains("no data directory"));
        let (said, outcome) = windrow_log(&[command], dir.path());
        assert_eq!(said, "");
        assert!(outcome.unwrap_err().contains("in use"));
    }
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
    assert_eq!(contents(dir.path()), before);
    drop(held);
    fs::write(dir.path().join("manifest"), "{}").unwrap();
    for command in ["verify", "dump", "repair"] {
        let (_, outcome) = windrow_log(&[command], dir.path());
        assert!(outcome.unwrap_err().contains("manifest"));
    }
}

#[test]
fn the_command_line_says_what_it_lacks() {
    for (line, lacks) in [
        (vec!["log"], "verify"),
        (vec!["log", "verify"], "<DIR>"),
        (vec!["log", "dump", "d", "--shard", "x"], "--shard"),
    ] {
        let refused = command().try_get_matches_from(&line).unwrap_err().to_string();
        assert!(refused.contains(lacks), "{line:?}: {refused}");
    }
}
