//! What a manifest says reads back, and what it cannot say is refused.

use super::*;
use crate::position::OPS_MAX;

/// What [`example`] was, as a server of format 1 wrote it.
const FORMAT_1: &[u8] = include_bytes!("fixtures/format_1");
/// What [`example_with_images`] was, as a server of format 2 wrote it.
const FORMAT_2: &[u8] = include_bytes!("fixtures/format_2");
/// What [`example_with_narrow_sums`] is.
const FORMAT_3: &[u8] = include_bytes!("fixtures/format_3");

fn example() -> Manifest {
    let mut manifest = Manifest::new(0xF00D << 100);
    manifest.epoch = 4;
    let tail = Some(TailEnd { opened_epoch: 4, offset: 4800, ops: 712 });
    let ends = vec![LogEnd { shard: 0, segment: 1, offset: 8192, ops: 700, tail }];
    manifest.epochs.push(EpochEntry { epoch: 2, shards: 1, ends });
    manifest.epochs.push(EpochEntry { epoch: 4, shards: 2, ends: Vec::new() });
    (manifest.catalogue.version, manifest.catalogue.next_stream_id, manifest.catalogue.next_layout_id) =
        (3, 2, 3);
    manifest.catalogue.streams.push(StreamEntry {
        id: 1,
        layout_id: 2,
        name: "purchases".to_owned(),
        definition: "FIELDS amount FLOAT WINDOWS 5m AGGREGATE \"count\"\n".to_owned(),
        created_ms: -1,
        settled: Some(Settled { at_ms: 7, clock_ms: Some(8) }),
        backfill: None,
        narrow_sums: false,
        older: vec![LayoutEntry {
            layout_id: 1,
            definition: "WINDOWS 5m".to_owned(),
            settled: None,
            backfill: None,
            narrow_sums: false,
        }],
    });
    manifest
}

#[test]
fn images_say_when_they_were_ended_or_do_not() {
    let mut manifest = example_with_images();
    for ended_ms in [None, Some(1_700_000_300_900)] {
        manifest.images[1].ended_ms = ended_ms;
        let bytes = manifest.encode().unwrap();
        assert_eq!(String::from_utf8(bytes.clone()).unwrap().contains("ended_ms"), ended_ms.is_some());
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
    }
}

fn example_with_images() -> Manifest {
    let mut manifest = example();
    manifest.epochs_given_back = 1;
    let image = |image, created_ms, starts: [u64; 2], ends: [u64; 2], bytes, records| ImageEntry {
        image,
        epoch: 4,
        shards: 2,
        created_ms,
        ended_ms: None,
        starts: starts.to_vec(),
        ends: ends.to_vec(),
        bytes,
        records,
    };
    manifest.images.push(image(3, 1_700_000_000_000, [10, 0], [12, 0], 8192, 5));
    manifest.images.push(image(7, 1_700_000_300_000, [10, 4], [20, 40], 12288, 6));
    manifest.raise_format();
    manifest
}

/// A layout from before there were narrow sums, and the one after it.
fn example_with_narrow_sums() -> Manifest {
    let mut manifest = example_with_images();
    manifest.catalogue.streams[0].narrow_sums = true;
    manifest.raise_format();
    manifest
}

#[test]
fn a_manifest_reads_back_as_it_was() {
    for manifest in [example(), example_with_images(), example_with_narrow_sums()] {
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()), Ok(manifest));
    }
}

#[test]
fn the_bytes_of_every_format_read_as_what_they_meant() {
    for (bytes, format, manifest) in [
        (FORMAT_1, 1, example()),
        (FORMAT_2, 2, example_with_images()),
        (FORMAT_3, 3, example_with_narrow_sums()),
    ] {
        assert_eq!(Manifest::decode(bytes), Ok(manifest.clone()));
        assert_eq!(manifest.format, format);
        assert_eq!(manifest.encode().unwrap(), bytes, "format {format} is still written so");
    }
}

#[test]
fn an_older_server_is_kept_away_from_the_first_image_on_and_ever_after() {
    let mut manifest = example();
    manifest.raise_format();
    assert_eq!(manifest.format, MANIFEST_FORMAT_OLDEST, "an older server may have it");
    let mut given_back = Manifest { epochs_given_back: 1, ..example() };
    given_back.raise_format();
    assert_eq!(given_back.format, MANIFEST_FORMAT_IMAGES);
    let mut without_images_again = Manifest { images: Vec::new(), ..example_with_images() };
    without_images_again.raise_format();
    assert_eq!(without_images_again.format, MANIFEST_FORMAT_IMAGES, "log may be missing");
}

#[test]
fn a_server_that_knows_wide_sums_only_is_kept_away_from_narrow_ones() {
    let mut of_now = example();
    of_now.catalogue.streams[0].narrow_sums = true;
    let mut of_before = example();
    of_before.catalogue.streams[0].older[0].narrow_sums = true;
    for mut manifest in [of_now, of_before] {
        assert!(manifest.check().is_err(), "format {} cannot say so", manifest.format);
        manifest.raise_format();
        assert_eq!((manifest.format, manifest.check()), (3, Ok(())));
        let stream = &mut manifest.catalogue.streams[0];
        (stream.narrow_sums, stream.older[0].narrow_sums) = (false, false);
        manifest.raise_format();
        assert_eq!(manifest.format, 3, "images may have records of the layout that is gone");
    }
}

#[test]
fn images_in_a_manifest_of_format_1_are_unreadable() {
    let json = String::from_utf8(FORMAT_2.to_vec()).unwrap().replace("\"format\": 2", "\"format\": 1");
    let body = &json.as_bytes()[..json.len() - CHECKSUM_LINE_BYTES];
    let bytes = [body, checksum_line(body).as_bytes()].concat();
    assert!(Manifest::decode(&bytes).unwrap_err().contains("format 1"));
}

#[test]
fn images_that_contradict_the_log_or_each_other_are_unreadable() {
    type Change = fn(&mut Manifest);
    let cases: [(&str, Change); 9] = [
        ("of an epoch to come", |manifest| manifest.images[1].epoch = 5),
        ("of another number of shards", |manifest| manifest.images[1].epoch = 2),
        ("of no epoch", |manifest| manifest.images[0].epoch = 0),
        ("without a start", |manifest| manifest.images[0].starts.truncate(1)),
        ("with an end too many", |manifest| manifest.images[0].ends.push(9)),
        ("that ends before it starts", |manifest| manifest.images[0].ends[0] = 9),
        ("beyond all positions", |manifest| manifest.images[1].ends[1] = OPS_MAX + 1),
        ("twice", |manifest| manifest.images[1].image = 3),
        ("that starts before the one before", |manifest| manifest.images[1].starts[0] = 9),
    ];
    for (what, change) in cases {
        let mut manifest = example_with_images();
        change(&mut manifest);
        assert!(Manifest::decode(&manifest.encode().unwrap()).is_err(), "an image {what}");
    }
    let mut many = example_with_images();
    let newest = many.images[1].clone();
    many.images.extend((8..).map(|image| ImageEntry { image, ..newest.clone() }).take(IMAGES_MAX - 2));
    assert!(Manifest::decode(&many.encode().unwrap()).is_ok(), "{IMAGES_MAX} are allowed");
    many.images.push(ImageEntry { image: 1000, ..newest });
    assert!(Manifest::decode(&many.encode().unwrap()).is_err(), "and no more");
}

#[test]
fn every_flipped_bit_and_every_truncation_is_unreadable() {
    let bytes = example().encode().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::decode(&flipped).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_later_format_is_refused_by_its_number() {
    let manifest = Manifest { format: MANIFEST_FORMAT + 1, ..example() };
    let reason = Manifest::decode(&manifest.encode().unwrap()).unwrap_err();
    assert!(reason.contains("format 4"), "{reason}");
}

#[test]
fn epochs_that_contradict_each_other_are_unreadable() {
    let mut twice = example();
    twice.epochs[0].epoch = 4;
    let mut unended = example();
    unended.epochs[0].ends.clear();
    let mut unlisted = example();
    unlisted.epochs.pop();
    let mut given_back_and_listed = example_with_images();
    given_back_and_listed.epochs_given_back = 2;
    for manifest in [twice, unended, unlisted, given_back_and_listed] {
        assert!(Manifest::decode(&manifest.encode().unwrap()).is_err(), "{manifest:?}");
    }
}
