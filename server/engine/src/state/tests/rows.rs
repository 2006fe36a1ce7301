//! What comes back, row by row: each part of a shard's state, whatever happened to it while the image was taken.

use super::same::{Id, assert_same};
use super::{Image, KEY, World, new_shards};
use crate::dedup::SourceSeq;
use crate::shard::{Outcome, Shard};
use crate::slot::{group_of, hash_slot};
use crate::state::{Import, Records, Share};

/// Never dies.
const LASTING: (&str, &str) = ("s", "FIELDS n INT WINDOWS 2s@1s all AGGREGATE count sum(n) DEDUP 2s");
/// Dies after some seconds.
const MORTAL: (&str, &str) = ("s", "FIELDS n INT WINDOWS 2s@1s AGGREGATE count sum(n) DEDUP 2s");

impl World {
    /// What the newest image and the log behind it make is what there is, for any number of shards.
    fn check(&self, ids: &[Id]) {
        let image = self.images.last().unwrap();
        for shards in [self.shards.len(), 1, 3] {
            let (catalogue, started) = self.started(Some(image), shards);
            assert_same((&self.catalogue, &self.shards), (&catalogue, &started), self.now_ms, ids);
        }
    }

    fn take_away(&mut self, entity: &str, is_evicted: bool) {
        if is_evicted {
            self.evict("s", entity);
        } else {
            self.delete("s", entity);
        }
    }

    fn id(&self, entity: &str, id: &str) -> Id {
        let stream = self.stream("s").id;
        let fingerprint = KEY.id_fingerprint(stream, entity.as_bytes(), id.as_bytes());
        Id { stream, group: group_of(hash_slot(entity.as_bytes())), fingerprint }
    }

    /// Copies all records that there are.
    fn walk(&mut self) {
        for shard in 0..self.shards.len() {
            while self.taken.as_ref().unwrap().parts[shard].walk.is_some() {
                self.copy_records(shard, 100);
            }
        }
    }

    fn count(&self, image: &Image) -> usize {
        image.parts.iter().map(|part| part.records.len()).sum()
    }
}

#[test]
fn an_event_that_a_record_has_is_not_counted_again_and_one_that_it_has_not_is() {
    let mut world = World::new(&[LASTING], 2);
    world.event("s", "e", "* n 1");
    world.begin_image();
    world.event("s", "e", "* n 2");
    world.walk();
    world.event("s", "e", "* n 4");
    world.finish_image();
    world.event("s", "e", "* n 8");
    world.check(&[]);
}

#[test]
fn a_record_that_was_removed_before_the_walk_came_by_does_not_come_back() {
    for is_evicted in [false, true] {
        let mut world = World::new(&[LASTING], 1);
        world.event("s", "e", "* n 1");
        world.event("s", "other", "* n 1");
        world.begin_image();
        // The log's tail begins with an event of a record that the image will not have.
        world.event("s", "e", "* n 2");
        world.take_away("e", is_evicted);
        world.finish_image();
        assert_eq!(world.count(&world.images[0]), 1);
        world.check(&[]);
        world.event("s", "e", "* n 4");
        world.check(&[]);
    }
}

#[test]
fn a_record_that_was_copied_before_its_removal_is_removed_again() {
    for is_evicted in [false, true] {
        let mut world = World::new(&[LASTING], 1);
        world.event("s", "e", "* n 1");
        world.begin_image();
        world.walk();
        world.take_away("e", is_evicted);
        world.finish_image();
        assert_eq!(world.count(&world.images[0]), 1);
        world.check(&[]);
    }
}

#[test]
fn a_record_that_was_removed_and_made_again_before_the_walk_came_by_is_the_later_one() {
    let mut world = World::new(&[LASTING], 1);
    world.event("s", "e", "* n 1");
    world.begin_image();
    world.event("s", "e", "* n 2");
    world.delete("s", "e");
    world.event("s", "e", "* n 4");
    world.walk();
    world.event("s", "e", "* n 8");
    world.finish_image();
    world.check(&[]);
}

#[test]
fn a_record_that_was_removed_and_made_again_after_the_walk_came_by_is_the_later_one() {
    let mut world = World::new(&[LASTING], 1);
    world.event("s", "e", "* n 1");
    world.begin_image();
    world.event("s", "e", "* n 2");
    world.walk();
    world.delete("s", "e");
    world.event("s", "e", "* n 4");
    world.finish_image();
    world.check(&[]);
}

#[test]
fn the_dead_stay_dead_whether_or_not_they_were_reclaimed_before_the_walk_came_by() {
    for is_reclaimed in [false, true] {
        let mut world = World::new(&[MORTAL], 1);
        world.event("s", "e", "* n 1");
        world.begin_image();
        world.event("s", "e", "* n 2");
        world.now_ms += 20_000;
        if is_reclaimed {
            world.upkeep();
        }
        world.walk();
        world.finish_image();
        assert_eq!(world.count(&world.images[0]), usize::from(!is_reclaimed));
        world.check(&[]);
        let (_, started) = world.started(world.images.last(), 1);
        let left = usize::from(!is_reclaimed);
        assert_eq!(started[0].usage().records, left, "no record is made of the rest of its events");
        // Also where entities live longer from now on, and where they start anew.
        world.alter("s", "SET TTL 90s");
        world.settle();
        world.check(&[]);
        world.event("s", "e", "* n 4");
        world.check(&[]);
    }
}

#[test]
fn a_record_upgraded_before_the_walk_came_by_takes_no_operation_of_the_layout_before() {
    let mut world = World::new(&[LASTING], 1);
    world.event("s", "e", "* n 1");
    world.begin_image();
    world.event("s", "e", "* n 2");
    world.alter("s", "ADD AGGREGATE max(n)");
    world.settle();
    world.upkeep();
    world.walk();
    world.event("s", "e", "* n 4");
    world.alter("s", "DROP AGGREGATE sum(n)");
    world.settle();
    world.finish_image();
    world.event("s", "e", "* n 8");
    world.check(&[]);
}

#[test]
fn a_stream_that_was_dropped_since_leaves_nothing() {
    let other = ("t", LASTING.1);
    let mut world = World::new(&[LASTING, other], 2);
    for stream in ["s", "t"] {
        world.event(stream, "e", "ID 1 * n 1");
        world.event(stream, "f", "SOURCE a 3 * n 1");
    }
    world.take_image();
    world.drop_stream("t");
    world.event("s", "e", "* n 2");
    world.check(&[world.id("e", "1")]);
    let (_, started) = world.started(world.images.last(), 2);
    assert_eq!(started.iter().map(Shard::entities).sum::<u64>(), 2);
    assert_eq!(started.iter().map(|shard| shard.dedup_usage().ids).sum::<u64>(), 1);
}

#[test]
fn ids_are_remembered_as_long_as_they_were() {
    // Which generation an id goes to is decided by its group's stamp: the replay must not decide it by a later one.
    for exported_after in 0..5 {
        let mut world = World::new(&[LASTING], 1);
        world.begin_image();
        world.walk();
        for at in 0..5 {
            world.now_ms += 900;
            world.event("s", "e", &format!("ID {at} * n 1"));
            if at == exported_after {
                world.export_slice(0, 1);
                world.export_slice(0, 1);
            }
        }
        world.finish_image();
        world.now_ms += 900;
        world.event("s", "e", "ID 5 * n 1");
        let ids: Vec<Id> = (0..6).map(|id| world.id("e", &id.to_string())).collect();
        world.check(&ids);
    }
}

#[test]
fn a_group_of_many_ids_is_exported_over_many_slices_while_it_changes() {
    const IDS: usize = 20_000;
    let mut world = World::new(&[("s", "FIELDS n INT WINDOWS 1h@1m all AGGREGATE count DEDUP 10m")], 1);
    let add = |world: &mut World, id: usize| {
        world.event("s", "e", &format!("ID {id} * n 1"));
    };
    (0..IDS).for_each(|id| add(&mut world, id));
    world.begin_image();
    world.walk();
    let (mut slices, mut id) = (0, IDS);
    while world.taken.as_ref().unwrap().parts[0].end.is_none() {
        world.export_slice(0, 1);
        let piece = world.taken.as_ref().unwrap().parts[0].pieces.last().unwrap();
        assert!(piece.len() <= 64 << 10, "a slice of {} bytes", piece.len());
        slices += 1;
        // Tables split, and a generation begins in the midst of it.
        (id..id + 500).for_each(|id| add(&mut world, id));
        id += 500;
        world.now_ms += if slices == 4 { 600_000 } else { 1_000 };
    }
    assert!(slices > 8, "{slices} slices");
    world.finish_image();
    let ids: Vec<Id> = (0..id).step_by(7).map(|id| world.id("e", &id.to_string())).collect();
    world.check(&ids);
    let (_, started) = world.started(world.images.last(), 1);
    assert_eq!(started[0].dedup_usage().ids, world.shards[0].dedup_usage().ids);
}

#[test]
fn a_generation_that_is_freed_in_the_midst_of_its_export_is_over_in_the_image_too() {
    let mut world = World::new(&[("s", "FIELDS n INT WINDOWS 1h@1m all AGGREGATE count DEDUP 1s")], 1);
    for id in 0..9_000 {
        world.event("s", "e", &format!("ID {id} * n 1"));
    }
    world.begin_image();
    world.walk();
    (0..3).for_each(|_| world.export_slice(0, 1));
    world.now_ms += 10_000;
    world.event("s", "e", "ID new * n 1");
    world.upkeep();
    world.finish_image();
    let mut ids: Vec<Id> = (0..9_000).step_by(50).map(|id| world.id("e", &id.to_string())).collect();
    ids.push(world.id("e", "new"));
    world.check(&ids);
}

#[test]
fn sources_go_on_where_they_were_and_what_was_undecided_is_forgotten() {
    let mut world = World::new(&[LASTING], 1);
    world.event("s", "e", "SOURCE a 3 * n 1");
    world.begin_image();
    world.walk();
    world.event("s", "e", "SOURCE a 4 * n 1");
    let refused = world.encoded("s", "e", "SOURCE a 6 * n 1");
    world.shards[0].refuse(&world.catalogue, &refused);
    let refused = world.encoded("s", "e", "SOURCE b 1 * n 1");
    world.shards[0].refuse(&world.catalogue, &refused);
    assert_eq!(world.event("s", "e", "SOURCE a 7 * n 1"), Outcome::SeqGap { undecided: 6 });
    world.finish_image();
    world.check(&[]);
    let source = KEY.source_fingerprint(b"a");
    let group = group_of(hash_slot(b"e"));
    let (_, started) = world.started(world.images.last(), 1);
    assert_eq!(started[0].dedup.sources(world.stream("s").id, group), [SourceSeq { source, seq: 4 }]);
    world.restart(Some(0), 1);
    assert_eq!(world.event("s", "e", "SOURCE a 4 * n 1"), Outcome::Duplicate);
    assert_eq!(world.event("s", "e", "SOURCE a 6 * n 1"), Outcome::Ok);
    assert_eq!(world.event("s", "e", "SOURCE b 1 * n 1"), Outcome::Ok);
}

#[test]
fn clocks_that_moved_without_a_counted_event_do_not_fall_back() {
    let event_clock = ("s", "FIELDS n INT WINDOWS 2s@1s AGGREGATE count CLOCK EVENT SKEW 1h REJECT DEDUP 2s");
    for noted_at in 0..3 {
        let mut world = World::new(&[event_clock], 2);
        world.event("s", "e", "ID 1 * n 1");
        let note = |world: &mut World, at| {
            if at == noted_at {
                world.now_ms += 100;
                assert_eq!(world.event("s", "e", "ID 1 * n 1"), Outcome::Duplicate);
            }
        };
        note(&mut world, 0);
        world.begin_image();
        note(&mut world, 1);
        world.finish_image();
        note(&mut world, 2);
        world.check(&[]);
    }
}

#[test]
fn an_image_brings_back_no_clock_that_only_an_operation_behind_its_ends_says() {
    let event_clock = ("s", "FIELDS n INT WINDOWS 2s@1s AGGREGATE count CLOCK EVENT SKEW 1h REJECT DEDUP 2s");
    let clock_of = |catalogue: &crate::Catalogue| catalogue.stream(b"s").unwrap().clock.get();
    let mut world = World::new(&[event_clock], 2);
    let mut names = (0..100).map(|name| format!("e{name}"));
    let of_first = names.find(|name| world.owner(name) == 0).unwrap();
    let of_second = names.find(|name| world.owner(name) == 1).unwrap();
    world.event("s", &of_second, "* n 1");
    world.now_ms += 1;
    world.event("s", &of_first, "ID 1 * n 1");
    // A clock that an event moved which is not counted.
    world.now_ms += 1;
    assert_eq!(world.event("s", &of_first, "ID 1 * n 1"), Outcome::Duplicate);
    let clock = clock_of(&world.catalogue);
    world.begin_image();
    world.copy_records(0, 100);
    while world.taken.as_ref().unwrap().parts[0].end.is_none() {
        world.export_slice(0, 1 << 20);
    }
    world.now_ms += 60_000;
    assert_eq!(world.event("s", &of_first, "* n 1"), Outcome::Ok);
    world.finish_image();
    // Power is lost before it is durable; the image waits for its ends alone.
    world.epoch().logs[0].pop();
    for shards in [2, 3] {
        assert_eq!(clock_of(&world.started(world.images.last(), shards).0), clock, "{shards} shards");
    }
    // The image after that, too, says all that its shards have in their log, or had in the image before.
    world.restart(Some(0), 3);
    world.take_image();
    assert_eq!(clock_of(&world.started(world.images.last(), 3).0), clock);
}

#[test]
fn counters_are_exact_and_those_of_what_is_not_logged_are_as_of_the_image() {
    let mut world = World::new(&[LASTING], 2);
    let id = world.stream("s").id;
    for (entity, words) in [("e", "ID 1 * n 1"), ("f", "ID 1 * n 1"), ("e", "ID 1 * n 1")] {
        world.event("s", entity, words);
    }
    world.begin_image();
    world.event("s", "g", "* n 1");
    world.evict("s", "f");
    world.finish_image();
    world.event("s", "g", "* n 1");
    world.evict("s", "g");
    world.event("s", "e", "ID 1 * n 1");
    world.check(&[]);
    for shards in [2, 3] {
        let (_, started) = world.started(world.images.last(), shards);
        let sum = |of: fn(&crate::StreamStats) -> u64| -> u64 {
            started.iter().map(|shard| of(&shard.stream_stats(id))).sum()
        };
        assert_eq!((sum(|stats| stats.ok), sum(|stats| stats.evicted)), (4, 2));
        assert_eq!(sum(|stats| stats.duplicate), 1, "the second was after the image");
    }
}

#[test]
fn events_of_a_later_epoch_are_replayed_whole() {
    let mut world = World::new(&[LASTING], 2);
    for n in 0..20 {
        world.event("s", &format!("e{n}"), "ID 1 * n 1");
    }
    world.take_image();
    world.restart(Some(0), 3);
    for n in 10..30 {
        world.event("s", &format!("e{n}"), "ID 2 * n 1");
    }
    world.check(&[world.id("e0", "1"), world.id("e15", "2"), world.id("e29", "2")]);
}

#[test]
fn an_event_after_the_images_end_is_counted_even_without_the_record_that_it_was_added_to() {
    // Where durable events were given up, what came after them is kept.
    let mut world = World::new(&[LASTING], 1);
    world.event("s", "f", "* n 1");
    world.take_image();
    world.event("s", "e", "* n 1");
    world.event("s", "e", "* n 2");
    let log = &mut world.epochs[0].logs[0];
    log[1] = log[0].clone();
    let (_, started) = world.started(world.images.last(), 1);
    assert_eq!(started[0].entities(), 2);
}

#[test]
fn numbers_of_records_that_are_not_those_of_the_image_are_refused() {
    let mut world = World::new(&[LASTING], 1);
    world.event("s", "e", "* n 1");
    world.take_image();
    let part = &world.images[0].parts[0];
    let share = Share { shard: 0, shards: 1 };
    // As linked, without a record.
    let mut shard = new_shards(1).remove(0);
    let mut import = Import::new(share, share, Records::Linked, part.end.unwrap());
    let taken = part.pieces.iter().try_for_each(|piece| import.take(&mut shard, &world.catalogue, piece));
    assert!(taken.unwrap_err().to_string().contains("more records than there are"));
}
