//! SAVE, BGSAVE, LASTSAVE, SHUTDOWN, and starts from images.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use windrow_storage::Disk;
use windrow_storage::disk::{Call, Fault, FaultyDisk, MemDisk};

use super::harness::{Client, Reply, command, config, eventually, start_on, start_with};
use crate::config::AppendFsync;
use crate::{Config, Running};

const STREAM: &str =
    "STREAM.CREATE s FIELDS v INT WINDOWS 1d@1h all AGGREGATE count sum(v) distinct(v) DEDUP 1h";

fn info(client: &mut Client, name: &str) -> String {
    let text = client.ask("INFO persistence").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

fn number(client: &mut Client, name: &str) -> i64 {
    info(client, name).parse().unwrap_or_else(|_| panic!("{name} is a number"))
}

fn image_files(disk: &MemDisk) -> Vec<PathBuf> {
    let images = Path::new("/data/images");
    let mut names: Vec<PathBuf> =
        disk.list(images).unwrap_or_default().iter().map(|name| images.join(name)).collect();
    names.sort();
    names
}

/// Events first..last of each of fifty entities, with ids, acknowledged.
fn add(client: &mut Client, rounds: std::ops::Range<usize>) {
    for round in rounds {
        let mut bytes = Vec::new();
        for e in 0..50 {
            command(&mut bytes, &format!("EVENT.ADD e{e} s ID r{round}e{e} * v {round}"));
        }
        client.send(&bytes);
        (0..50).for_each(|_| client.read().assert_ok());
    }
}

/// Each of the fifty entities has `rounds` events, and remembers their ids.
#[track_caller]
fn assert_has(client: &mut Client, rounds: i64) {
    let sum: i64 = (0..rounds).sum();
    for e in 0..50 {
        let row = client.ask(&format!("WINDOW.GET e{e} s count:1d sum(v):all distinct(v):1d"));
        let expected = [rounds, sum, rounds].map(Reply::Int).to_vec();
        assert_eq!(row, Reply::Array(expected), "e{e}");
        let again = client.ask(&format!("EVENT.ADD e{e} s ID r{}e{e} * v 1", rounds - 1));
        assert_eq!(again, Reply::Simple("DUPLICATE".to_owned()), "e{e}");
    }
}

/// What a process that is killed leaves: all that was written, synced or not.
fn killed(running: Running, disk: &MemDisk) -> MemDisk {
    let left = disk.fork();
    drop(running);
    left
}

#[test]
fn what_was_saved_and_what_came_after_is_there_after_a_kill() {
    for (shards, then) in [(2, 2), (3, 1), (1, 4)] {
        let disk = MemDisk::new();
        let running = start_on(config(shards), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        add(&mut client, 0..10);
        assert_eq!(client.ask("LASTSAVE"), Reply::Int(0));
        assert!(number(&mut client, "rdb_changes_since_last_save") >= 500);
        client.ask("SAVE").assert_ok();
        assert_eq!(number(&mut client, "rdb_changes_since_last_save"), 0);
        assert_eq!(number(&mut client, "image_records"), 50);
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
        let saved = client.ask("LASTSAVE");
        assert_eq!(saved, Reply::Int(number(&mut client, "rdb_last_save_time")));
        assert_ne!(saved, Reply::Int(0));
        assert_eq!(image_files(&disk).len(), shards);
        add(&mut client, 10..15);
        assert_eq!(client.ask("ENTITY.DEL e7"), Reply::Int(1));
        client.ask("EVENT.ADD e7 s ID again * v 5").assert_ok();
        assert_eq!(number(&mut client, "rdb_changes_since_last_save"), 252);
        let left = killed(running, &disk);
        let running = start_on(config(then), Arc::new(left));
        let mut client = Client::connect(&running);
        assert_eq!(client.ask("WINDOW.GET e7 s count:1d"), Reply::Array(vec![Reply::Int(1)]));
        assert_eq!(client.ask("LASTSAVE"), saved);
        assert_eq!(client.ask("DBSIZE"), Reply::Int(50));
        assert!(number(&mut client, "rdb_changes_since_last_save") <= 252, "only the tail was read");
        for e in (0..50).filter(|e| *e != 7) {
            let row = client.ask(&format!("WINDOW.GET e{e} s count:1d sum(v):all distinct(v):1d"));
            assert_eq!(row, Reply::Array([15, 105, 15].map(Reply::Int).to_vec()), "{shards} shards, e{e}");
        }
    }
}

#[test]
fn images_are_written_under_load_and_every_acknowledged_event_is_there_once() {
    const WRITERS: usize = 3;
    for (shards, then) in [(2, 2), (3, 2)] {
        let disk = MemDisk::new();
        let small = |shards| Config { log_segment_bytes: 64 << 10, ..config(shards) };
        let running = start_on(small(shards), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1d@1h all AGGREGATE count sum(v)").assert_ok();
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (mut client, stop) = (Client::connect(&running), Arc::clone(&stop));
                thread::spawn(move || {
                    let mut rounds = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let mut bytes = Vec::new();
                        for e in 0..200 {
                            command(&mut bytes, &format!("EVENT.ADD w{writer}e{e} s * v {rounds}"));
                        }
                        client.send(&bytes);
                        (0..200).for_each(|_| client.read().assert_ok());
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        for image in 1..=5 {
            client.ask("SAVE").assert_ok();
            assert_eq!(number(&mut client, "image_number"), image);
        }
        assert_eq!(number(&mut client, "images"), 2, "the newest two are kept");
        stop.store(true, Ordering::Relaxed);
        let rounds: Vec<i64> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        let left = killed(running, &disk);
        let running = start_on(small(then), Arc::new(left));
        let mut client = Client::connect(&running);
        for (writer, &rounds) in rounds.iter().enumerate() {
            for e in 0..200 {
                let row = client.ask(&format!("WINDOW.GET w{writer}e{e} s count:1d sum(v):all"));
                let expected = [rounds, (0..rounds).sum()].map(Reply::Int).to_vec();
                assert_eq!(row, Reply::Array(expected), "w{writer}e{e}");
            }
        }
    }
}

#[test]
fn an_image_is_begun_in_the_background_and_another_one_is_refused_meanwhile() {
    let disk = MemDisk::new();
    let running = start_on(Config { save_rate_bytes: 1 << 20, ..config(2) }, Arc::new(disk));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    // Some megabytes, at one in a second.
    let mut bytes = Vec::new();
    for e in 0..20_000 {
        command(&mut bytes, &format!("EVENT.ADD entity-number-{e} s * v {e}"));
    }
    client.send(&bytes);
    (0..20_000).for_each(|_| client.read().assert_ok());
    client.ask("BGSAVE NOW").assert_error("syntax error");
    assert_eq!(client.ask("BGSAVE"), Reply::Simple("Background saving started".to_owned()));
    client.ask("BGSAVE").assert_error("ERR Background save already in progress");
    client.ask("BGSAVE SCHEDULE").assert_error("ERR Background save already in progress");
    client.ask("SAVE").assert_error("ERR Background save already in progress");
    assert_eq!(number(&mut client, "rdb_bgsave_in_progress"), 1);
    assert!(number(&mut client, "rdb_current_bgsave_time_sec") >= 0);
    assert_eq!(client.ask("LASTSAVE"), Reply::Int(0), "it is not there yet");
    eventually("the image is written", || number(&mut client, "rdb_bgsave_in_progress") == 0);
    assert_ne!(client.ask("LASTSAVE"), Reply::Int(0));
    assert_eq!(number(&mut client, "image_records"), 20_000);
    assert_eq!(number(&mut client, "rdb_saves"), 1);
    assert_eq!(number(&mut client, "rdb_current_bgsave_time_sec"), -1);
    assert!(number(&mut client, "rdb_last_bgsave_time_sec") >= 0);
}

#[test]
fn an_image_is_due_after_some_time_or_so_many_operations_if_anything_changed() {
    let config = Config { save_s: 1, save_operations: 1000, ..config(2) };
    let disk = MemDisk::new();
    let running = start_on(config.clone(), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    add(&mut client, 0..1);
    eventually("a second has passed", || number(&mut client, "image_number") == 1);
    client.ask("CONFIG SET save 100000").assert_ok();
    // Nothing changed, and no second is waited for: the next one is due by operations.
    add(&mut client, 1..30);
    eventually("a thousand operations have passed", || number(&mut client, "image_number") == 2);
    client.ask("CONFIG SET save 0").assert_ok();
    add(&mut client, 30..60);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(number(&mut client, "image_number"), 2, "off is off");
    let images = image_files(&disk).len();
    running.shutdown().unwrap();
    // After a start the settings go on from what there is.
    let running = start_on(Config { save_s: 1, save_operations: 0, ..config }, Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    assert_has(&mut client, 60);
    eventually("the tail is saved", || number(&mut client, "image_number") == 3);
    assert_eq!(images, 4);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(number(&mut client, "image_number"), 3, "nothing changed");
}

#[test]
fn shutdown_leaves_an_image_where_the_setting_is_on_and_something_changed() {
    for (save_s, words, images) in
        [(300, "SHUTDOWN", 1), (300, "SHUTDOWN NOSAVE", 0), (0, "SHUTDOWN", 0), (0, "SHUTDOWN SAVE NOW", 1)]
    {
        let disk = MemDisk::new();
        let config = Config { save_s, ..config(2) };
        let running = start_on(config.clone(), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        add(&mut client, 0..3);
        client.ask("SHUTDOWN SAVE NOSAVE").assert_error("syntax error");
        let mut bytes = Vec::new();
        command(&mut bytes, words);
        client.send(&bytes);
        assert!(client.is_closed());
        running.wait().unwrap();
        assert_eq!(image_files(&disk).len(), images * 2, "{words} with save {save_s}");
        let running = start_on(config, Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        assert_has(&mut client, 3);
        if images == 1 {
            // Duplicates are no change.
            client.send(b"SHUTDOWN\r\n");
            assert!(client.is_closed());
            running.wait().unwrap();
            assert_eq!(image_files(&disk).len(), 2, "nothing changed since");
        }
    }
}

#[test]
fn an_image_that_cannot_be_written_is_reported_and_harms_nothing() {
    let mem = MemDisk::new();
    let disk = FaultyDisk::new(Arc::new(mem.clone()));
    let running = start_on(config(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    add(&mut client, 0..5);
    mem.set_capacity_bytes(Some(mem.used_bytes()));
    client.ask("SAVE").assert_error("ERR no image was written");
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
    assert_eq!(client.ask("LASTSAVE"), Reply::Int(0));
    mem.set_capacity_bytes(None);
    assert!(image_files(&mem).is_empty(), "{:?}", image_files(&mem));
    add(&mut client, 5..6);
    client.ask("SAVE").assert_ok();
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    add(&mut client, 6..8);
    // A log that has failed may have lost what an image would hold.
    disk.inject(Call::Write, disk.calls(Call::Write), u64::MAX, Fault::Io);
    client.ask("EVENT.ADD e1 s * v 1").assert_error("MISCONF");
    client.ask("SAVE").assert_error("MISCONF The log has failed");
    client.ask("BGSAVE").assert_error("MISCONF");
    disk.heal();
    drop(running);
    let running = start_on(config(2), Arc::new(mem));
    assert_has(&mut Client::connect(&running), 8);
}

#[test]
fn a_damaged_directory_of_an_image_is_set_aside_for_the_one_before_and_its_log() {
    let disk = MemDisk::new();
    let running = start_on(config(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    add(&mut client, 0..5);
    client.ask("SAVE").assert_ok();
    add(&mut client, 5..8);
    client.ask("SAVE").assert_ok();
    add(&mut client, 8..9);
    let left = killed(running, &disk);
    // The footer.
    let newest = image_files(&left).pop().unwrap();
    let end = left.open(&newest, windrow_storage::disk::OpenMode::Read).unwrap().len().unwrap();
    left.corrupt(&newest, end - 4000, |byte| *byte ^= 1).unwrap();
    let running = start_on(config(2), Arc::new(left.clone()));
    let mut client = Client::connect(&running);
    assert_has(&mut client, 9);
    assert!(image_files(&left).iter().any(|file| file.to_string_lossy().ends_with(".damaged")));
    client.ask("SAVE").assert_ok();
    drop(running);
    let running = start_on(config(3), Arc::new(left));
    assert_has(&mut Client::connect(&running), 9);
}

#[test]
fn under_no_sync_at_all_an_image_is_published_only_when_the_log_behind_it_is_durable() {
    for seed in 0..5 {
        let disk = MemDisk::new();
        let settings = Config { appendfsync: AppendFsync::No, ..config(2) };
        let running = start_on(settings.clone(), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        add(&mut client, 0..4);
        client.ask("SAVE").assert_ok();
        let after = disk.crash(seed);
        drop(running);
        let running = start_on(settings, Arc::new(after));
        assert_has(&mut Client::connect(&running), 4);
    }
}

#[test]
fn log_that_no_start_needs_goes_and_the_rest_is_enough() {
    for shards in [1, 3] {
        let disk = MemDisk::new();
        let settings =
            Config { log_segment_bytes: 64 << 10, log_retention_ms: 0, save_s: 0, ..config(shards) };
        let running = start_on(settings.clone(), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        for image in 0..8 {
            add(&mut client, image * 20..(image + 1) * 20);
            client.ask("SAVE").assert_ok();
        }
        let kept = 10 * (64 << 10) * shards as i64;
        eventually("log is given back", || number(&mut client, "log_bytes") <= kept);
        assert!(number(&mut client, "log_segments") >= shards as i64);
        add(&mut client, 160..163);
        let left = killed(running, &disk);
        let running = start_on(settings.clone(), Arc::new(left.clone()));
        assert_has(&mut Client::connect(&running), 163);
        drop(running);
        // The older of the two images has its log, too.
        let newest = image_files(&left).pop().unwrap();
        left.corrupt(&newest, 40, |byte| *byte ^= 1).unwrap();
        let running = start_on(settings, Arc::new(left));
        assert_has(&mut Client::connect(&running), 163);
    }
}

#[test]
fn at_its_greatest_size_the_log_refuses_writes_until_images_set_some_free() {
    let settings = |save_s| Config {
        log_segment_bytes: 64 << 10,
        log_max_bytes: 512 << 10,
        log_retention_ms: 0,
        save_s,
        ..config(1)
    };
    let fill = |client: &mut Client| {
        let mut counted = 0;
        loop {
            match client.ask("EVENT.ADD e s * v 1") {
                Reply::Error(text) => return (counted, text),
                reply => {
                    reply.assert_ok();
                    counted += 1;
                }
            }
        }
    };
    let disk = MemDisk::new();
    let running = start_on(settings(0), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    let (mut counted, refusal) = fill(&mut client);
    assert!(refusal.starts_with("MISCONF") && refusal.contains("log-max-bytes"), "{refusal}");
    assert!(counted > 1000, "{counted}");
    // One image is not enough, since a start may have to take the one before.
    client.ask("SAVE").assert_ok();
    client.ask("EVENT.ADD e s * v 1").assert_error("log-max-bytes");
    client.ask("SAVE").assert_ok();
    eventually("writing resumes", || client.ask("EVENT.ADD e s * v 1") == Reply::Simple("OK".to_owned()));
    counted += 1;
    let left = killed(running, &disk);
    // With images by themselves nobody has to help.
    let running = start_on(settings(100_000), Arc::new(left));
    let mut client = Client::connect(&running);
    assert_eq!(client.ask("WINDOW.GET e s count:1d"), Reply::Array(vec![Reply::Int(counted)]));
    for _ in 0..20_000 {
        eventually("writing goes on", || client.ask("EVENT.ADD e s * v 1") == Reply::Simple("OK".to_owned()));
    }
    assert!(number(&mut client, "log_bytes") <= 512 << 10);
    assert_eq!(client.ask("WINDOW.GET e s count:1d"), Reply::Array(vec![Reply::Int(counted + 20_000)]));
}

#[test]
fn what_was_flushed_after_an_image_stays_away_when_the_image_is_loaded() {
    for then in [2, 3] {
        let disk = MemDisk::new();
        let running = start_on(config(2), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        add(&mut client, 0..5);
        client.ask("SAVE").assert_ok();
        client.ask("FLUSHALL").assert_ok();
        assert!(number(&mut client, "rdb_changes_since_last_save") > 0);
        add(&mut client, 0..2);
        let left = killed(running, &disk);
        let running = start_on(config(then), Arc::new(left));
        let mut client = Client::connect(&running);
        assert_eq!(client.ask("DBSIZE"), Reply::Int(50));
        assert_has(&mut client, 2);
        // Dealt to other shards, an image is written at once.
        let images = if then == 2 { 1 } else { 2 };
        eventually("it is there", || number(&mut client, "image_number") == images);
        eventually("it is done", || number(&mut client, "rdb_bgsave_in_progress") == 0);
        client.ask("SAVE").assert_ok();
        assert_eq!(number(&mut client, "image_number"), images + 1);
    }
}

#[test]
fn an_end_does_not_wait_for_the_pace_of_an_image() {
    let disk = MemDisk::new();
    let config = Config { save_rate_bytes: 1 << 10, ..config(2) };
    let running = start_on(config.clone(), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    add(&mut client, 0..3);
    assert_eq!(client.ask("BGSAVE"), Reply::Simple("Background saving started".to_owned()));
    client.send(b"SHUTDOWN\r\n");
    assert!(client.is_closed());
    running.wait().unwrap();
    assert_eq!(image_files(&disk).len(), 2, "the image that was being written is the last one");
    let running = start_on(config, Arc::new(disk));
    assert_has(&mut Client::connect(&running), 3);
}

#[test]
fn an_image_leaves_the_disk_to_the_log_where_there_is_not_room_for_both() {
    let mem = MemDisk::new();
    // At the first look, and at those after it.
    let free = Arc::new([const { AtomicU64::new(u64::MAX) }; 2]);
    let looks = Arc::new(AtomicU64::new(0));
    let look = {
        let (free, looks) = (Arc::clone(&free), Arc::clone(&looks));
        move |dir: &Path| {
            assert_eq!(dir, Path::new("/data"));
            let look = looks.fetch_add(1, Ordering::Relaxed).min(1);
            Some(free[look as usize].load(Ordering::Relaxed))
        }
    };
    let set = |first, then| {
        free[0].store(first, Ordering::Relaxed);
        free[1].store(then, Ordering::Relaxed);
        looks.store(0, Ordering::Relaxed);
    };
    let settings = Config { save_s: 0, ..config(2) };
    let log_bytes = 2 * settings.log_segment_bytes;
    let running = start_with(settings, Arc::new(mem.clone()), Arc::new(look));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    // Some megabytes.
    let mut bytes = Vec::new();
    for e in 0..20_000 {
        command(&mut bytes, &format!("EVENT.ADD entity-number-{e} s * v {e}"));
    }
    client.send(&bytes);
    (0..20_000).for_each(|_| client.read().assert_ok());
    client.ask("SAVE").assert_ok();
    let image_bytes = number(&mut client, "image_bytes") as u64;
    assert!(image_bytes > 2 << 20, "{image_bytes}");
    let images = image_files(&mem);
    client.ask("EVENT.ADD entity-number-1 s * v 1").assert_ok();

    set(image_bytes + log_bytes - 1, u64::MAX);
    client.ask("SAVE").assert_error("ERR no image was written: the disk has");
    assert_eq!(looks.load(Ordering::Relaxed), 1, "it was not begun");
    set(image_bytes + log_bytes, log_bytes - 1);
    client.ask("SAVE").assert_error("left, and the log needs");
    assert_eq!(image_files(&mem), images, "what was begun is gone, the one before is there");
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
    client.ask("EVENT.ADD entity-number-1 s * v 1").assert_ok();
    set(image_bytes + log_bytes, log_bytes);
    client.ask("SAVE").assert_ok();
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
}

#[test]
fn a_server_without_a_log_refuses_images_at_once_and_ends_without_one() {
    let disk = MemDisk::new();
    let settings = Config { is_unlogged: true, save_s: 0, ..config(2) };
    let running = start_on(settings, Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    client.ask("EVENT.ADD e s * v 1").assert_ok();
    client.ask("SAVE").assert_error("ERR no image was written: the server keeps no log");
    client.ask("SAVE").assert_error("the server keeps no log");
    client.send(b"SHUTDOWN SAVE\r\n");
    assert!(client.is_closed());
    running.wait().unwrap();
    assert!(image_files(&disk).is_empty());
}
