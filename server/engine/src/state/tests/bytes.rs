//! Damaged state is an error, whatever is damaged.

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::{World, new_shards};
use crate::state::section::{self, HEAD, USAGE, put_u32};
use crate::state::{Import, Records, Share, StateError};

const SHARE: Share = Share { shard: 0, shards: 1 };

/// The pieces of a shard that has something of everything.
fn exported() -> (World, Vec<Vec<u8>>, u64) {
    let streams = [
        ("a", "FIELDS n INT WINDOWS 2s@1s all AGGREGATE count sum(n) DEDUP 2s"),
        ("b", "FIELDS n INT WINDOWS 2s@1s AGGREGATE count CLOCK EVENT SKEW 1h REJECT DEDUP 1s"),
    ];
    let mut world = World::new(&streams, 1);
    for (at, stream) in [(0, "a"), (1, "b"), (2, "a"), (3, "b")] {
        world.now_ms += 700;
        for entity in ["e", "f", "g"] {
            world.event(stream, entity, &format!("ID {at} SOURCE pump {at} * n 1"));
        }
    }
    world.take_image();
    let part = world.images.remove(0).parts.remove(0);
    (world, part.pieces, part.end.unwrap())
}

fn import(world: &World, pieces: &[Vec<u8>], end: u64) -> Result<(), StateError> {
    let mut shard = new_shards(1).remove(0);
    let mut import = Import::new(SHARE, SHARE, Records::Inserted, end);
    pieces.iter().try_for_each(|piece| import.take(&mut shard, &world.catalogue, piece))?;
    import.finish(&mut shard)
}

#[test]
fn what_was_exported_is_imported() {
    let (world, pieces, end) = exported();
    import(&world, &pieces, end).unwrap();
}

#[test]
fn a_piece_that_is_missing_or_there_twice_is_noticed() {
    let (world, pieces, end) = exported();
    let all: Vec<u8> = pieces.concat();
    let sections: Vec<Vec<u8>> = split(&all);
    assert_eq!(sections.concat(), all);
    for missing in 0..sections.len() {
        let mut rest = sections.clone();
        let section = rest.remove(missing);
        // Without its ids or sources, a group is like one that had none: only a checksum can tell.
        let may_be_missing = [section::IDS, section::SOURCES].contains(&u32::from(section[0]))
            || (section[0] == section::GROUP as u8 && u32::from(rest[missing][0]) == section::GROUP);
        assert_eq!(import(&world, &rest, end).is_ok(), may_be_missing, "section {missing} of {section:?}");
        let mut twice = sections.clone();
        twice.insert(missing, section);
        assert!(import(&world, &twice, end).is_err(), "section {missing} twice");
    }
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut sections = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = 8 + u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        sections.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    sections
}

#[test]
fn every_truncation_is_noticed() {
    let (world, pieces, end) = exported();
    let all = pieces.concat();
    for length in 0..all.len() {
        assert!(import(&world, &[all[..length].to_vec()], end).is_err(), "{length} bytes");
    }
}

#[test]
fn a_later_version_is_refused_by_its_number() {
    let (world, mut pieces, end) = exported();
    let mut head = Vec::new();
    section::write(&mut head, HEAD, |out| put_u32(out, 7));
    pieces.insert(0, head);
    let refused = import(&world, &pieces, end).unwrap_err().to_string();
    assert!(refused.contains("version 7"), "{refused}");
}

#[test]
fn what_a_later_version_wrote_is_not_taken_for_damage() {
    let (world, pieces, end) = exported();
    for (kind, version) in [(HEAD, 7), (USAGE + 1, 1)] {
        let mut section = Vec::new();
        section::write(&mut section, kind, |out| put_u32(out, version));
        let mut pieces = pieces.clone();
        pieces.insert(usize::from(kind != HEAD), section);
        let refused = import(&world, &pieces, end).unwrap_err();
        assert!(matches!(refused, StateError::Format { .. }), "{refused}");
    }
}

#[test]
fn state_of_another_shard_is_refused() {
    let (world, pieces, end) = exported();
    let other = Share { shard: 1, shards: 2 };
    let mut import = Import::new(other, other, Records::Inserted, end);
    let mut shard = new_shards(1).remove(0);
    assert!(import.take(&mut shard, &world.catalogue, &pieces[0]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Most flips are noticed, but not those of a count: that is what the checksums of the file are for.
    #[test]
    fn flipped_bits_and_random_bytes_do_not_make_it_panic_or_take_much_memory(
        flips in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        spliced in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        thread_local!(static EXPORTED: (World, Vec<Vec<u8>>, u64) = exported());
        EXPORTED.with(|(world, pieces, end)| {
            let mut all = pieces.concat();
            for flip in flips {
                let bit = flip.index(all.len() * 8);
                all[bit / 8] ^= 1 << (bit % 8);
            }
            let _ = import(world, &[all.clone()], *end);
            let at = spliced.index(all.len());
            all.splice(at..at, bytes);
            let _ = import(world, &[all], *end);
        });
    }
}
