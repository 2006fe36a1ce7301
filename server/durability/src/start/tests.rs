//! Starts over a disk in memory: whatever became of images and log, what was acknowledged is there, or the start says why it is not.

mod damage;
mod server;

use server::{Running, STREAMS, new_disk, restart};

use super::StartError;

#[test]
fn without_an_image_everything_comes_from_the_log() {
    let disk = new_disk();
    let mut server = Running::create(&disk, 2, &STREAMS);
    server.events(0..200);
    let server = restart(server, 2);
    assert_eq!((server.image, server.is_redealt), (None, false));
    server.check();
}

#[test]
fn an_image_and_the_log_behind_it_are_everything() {
    for shards in 1..4 {
        let mut server = Running::create(&new_disk(), shards, &STREAMS);
        server.events(0..200);
        let image = server.take_image_while(|_| {});
        server.events(100..300);
        let server = restart(server, shards);
        assert_eq!((server.image, server.is_redealt), (Some(image), false));
        assert_eq!(server.replayed_operations, 2 * 200, "the log behind the image alone");
        server.check();
    }
}

#[test]
fn what_happens_while_the_image_is_taken_is_neither_lost_nor_counted_twice() {
    let mut server = Running::create(&new_disk(), 2, &STREAMS);
    server.events(0..300);
    let mut step = 0;
    server.take_image_while(|server| {
        step += 1;
        server.events(7 * step..7 * step + 9);
        server.delete("s", &format!("entity:{}", 11 * step % 300));
    });
    server.events(0..20);
    let server = restart(server, 2);
    assert!(server.image.is_some());
    server.check();
}

#[test]
fn another_number_of_shards_gets_the_same() {
    for (before, after) in [(1, 3), (3, 1), (2, 3), (4, 2)] {
        let mut server = Running::create(&new_disk(), before, &STREAMS);
        server.events(0..300);
        let image = server.take_image_while(|server| server.events(3..5));
        server.events(200..400);
        server.delete("s", "entity:7");
        let mut server = restart(server, after);
        assert_eq!((server.image, server.is_redealt), (Some(image), true));
        server.check();
        // And goes on from an image of the new ones.
        server.events(0..50);
        let image = server.take_image_while(|server| server.events(3..5));
        server.events(0..50);
        let server = restart(server, after);
        assert_eq!((server.image, server.is_redealt), (Some(image), false));
        server.check();
    }
}

#[test]
fn an_image_of_an_earlier_epoch_serves_with_all_later_epochs_behind_it() {
    let mut server = Running::create(&new_disk(), 2, &STREAMS);
    server.events(0..100);
    let image = server.take_image_while(|_| {});
    for shards in [3, 2, 1] {
        server.events(50..150);
        server.delete("s", "entity:60");
        server = restart(server, shards);
        assert_eq!(server.image, Some(image));
        server.check();
    }
}

#[test]
fn streams_dropped_and_altered_since_are_as_they_are_now() {
    for shards in [2, 3] {
        let mut server = Running::create(&new_disk(), 2, &STREAMS);
        server.events(0..100);
        server.alter("s", "ADD AGGREGATE max(n)");
        server.events(50..150);
        let image = server.take_image_while(|_| {});
        server.alter("s", "DROP AGGREGATE max(n)");
        server.alter("s", "ADD WINDOWS 2h@1m");
        server.drop_stream("t");
        server.events(100..120);
        let server = restart(server, shards);
        assert_eq!(server.image, Some(image));
        server.check();
        assert!(server.catalogue.stream(b"t").is_none());
    }
}

#[test]
fn the_clock_is_told_of_the_image_where_the_log_behind_it_is_empty() {
    let mut server = Running::create(&new_disk(), 1, &STREAMS);
    server.events(0..10);
    server.now_ms += 1_000_000;
    server.take_image_while(|_| {});
    let now_ms = server.now_ms;
    let server = restart(server, 1);
    assert_eq!(server.latest_now_ms, Some(now_ms));
}

#[test]
fn the_clock_is_told_of_what_happened_while_the_image_was_taken() {
    let mut server = Running::create(&new_disk(), 2, &STREAMS);
    server.events(0..10);
    server.take_image_while(|server| server.now_ms += 1_000);
    let now_ms = server.now_ms;
    let server = restart(server, 2);
    assert_eq!((server.replayed_operations, server.latest_now_ms), (0, Some(now_ms)));
}

#[test]
fn the_starts_progress_is_told_from_nothing_to_everything() {
    let mut server = Running::create(&new_disk(), 2, &STREAMS);
    server.events(0..300);
    server.take_image_while(|_| {});
    server.events(0..300);
    let server = restart(server, 2);
    let progress = server.progress.lock().unwrap();
    for phase in [super::Phase::Image, super::Phase::Log] {
        let of_phase: Vec<_> = progress.iter().filter(|progress| progress.phase == phase).collect();
        let last = of_phase.last().unwrap();
        assert_eq!(last.done_bytes, last.total_bytes, "{phase:?}");
        assert!(of_phase.is_sorted_by_key(|progress| progress.done_bytes));
    }
    assert_eq!(progress.last().unwrap().operations, server.replayed_operations);
}

#[test]
fn a_start_that_is_cancelled_changes_nothing() {
    let disk = new_disk();
    let mut server = Running::create(&disk, 2, &STREAMS);
    server.events(0..100);
    server.take_image_while(|_| {});
    server.events(0..100);
    let (disk, model) = server.stop();
    let cancelled = Running::try_start(&disk.fork(), 2, model.clone(), true);
    assert!(matches!(cancelled.err(), Some(StartError::Cancelled)));
    Running::try_start(&disk, 2, model, false).unwrap().check();
}

#[test]
fn power_loss_at_any_point_of_taking_an_image_leaves_what_was_durable() {
    for seed in 0..40 {
        let mut server = Running::create(&new_disk(), 2, &STREAMS);
        server.events(0..120);
        server.take_image_while(|_| {});
        server.sync();
        let mut step = 0;
        let mut crashed = None;
        server.take_image_while(|server| {
            step += 1;
            if step == 1 + seed / 2 {
                crashed = Some((server.disk.crash(seed), server.model.clone()));
            }
            if crashed.is_none() {
                server.events(step as usize..step as usize + 2);
                server.sync();
            }
        });
        let (disk, model) = crashed.unwrap_or_else(|| (server.disk.crash(seed), server.model.clone()));
        let server = Running::try_start(&disk, 2, model, false).unwrap();
        assert!(server.image.is_some());
        server.check();
    }
}
