//! Power losses at every call to the disk, with every kind of survival of what was not synced, during work and during recovery.
//!
//! Each operation's bytes follow from its position, so whatever is replayed can be judged by itself. The promises:
//! - positions are dense from 1 for each (epoch, shard), each operation once, whole, as it was appended;
//! - what was published as durable is there;
//! - what a finished start had replayed (and would have served) is there at every later start, and nothing more of those epochs;
//! - all this from either of the two newest images on, while retention lets go what it can.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Call, FaultyDisk, MemDisk};
use crate::frame::planted::CHECKS_ARE_IGNORED;
use crate::manifest::EpochEntry;
use crate::{
    Disk, Idle, ImageEntry, Manifest, Recovery, ReplayFrom, Replayed, Retention, SegmentFill, ShardLog,
    SplitMix64, Started, StorageError, StorageOptions,
};

const DIR: &str = "/data";
/// Crash images made of each state.
const IMAGES: u64 = 3;

type LogId = (u32, u16);

/// Which image a start begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Newest,
    /// As if the newest were damaged.
    SecondNewest,
}

impl Begin {
    fn of_number(number: u64) -> Begin {
        if number.is_multiple_of(2) { Begin::Newest } else { Begin::SecondNewest }
    }

    fn of(self, manifest: &Manifest) -> Option<ReplayFrom> {
        let mut newest = manifest.images.iter().rev();
        let image = match self {
            Begin::Newest => newest.next(),
            // The only one: then the whole log is there too.
            Begin::SecondNewest => newest.nth(1),
        };
        image.map(ReplayFrom::from)
    }
}

/// What must hold of a directory whenever it is opened.
#[derive(Debug, Clone, Default)]
struct Promises {
    /// Operations whose append was begun.
    appended: BTreeMap<LogId, u64>,
    /// Operations that must come back.
    kept: BTreeMap<LogId, u64>,
    /// Operations that must come back and no others: of epochs closed by a start that finished.
    settled: BTreeMap<LogId, u64>,
    /// Version of the catalogue that must be there, and the newest that may be.
    catalogue: (u64, u64),
}

/// The bytes of an operation: their number and each of them follow from its position.
fn operation(log: LogId, ops: u64) -> Vec<u8> {
    let mut random = SplitMix64::new(u64::from(log.0) << 50 ^ u64::from(log.1) << 40 ^ ops);
    let len = 1 + random.below(if ops.is_multiple_of(7) { 700 } else { 40 });
    (0..len).map(|_| random.next_word() as u8).collect()
}

fn options(seed: u64) -> StorageOptions {
    let fill = if seed.is_multiple_of(2) { SegmentFill::Write } else { SegmentFill::Allocate };
    let retention = Retention { keep_ms: 0, ..Retention::default() };
    StorageOptions {
        segment_bytes: 8192,
        first_segment_bytes: 8192,
        fill,
        retention,
        ..StorageOptions::new(seed)
    }
}

/// The outcome, and the last operation of each log; of logs that the image holds wholly what `promises` expect.
fn open_and_replay(
    disk: Arc<dyn Disk>,
    seed: u64,
    begin: Begin,
    promises: &Promises,
    broken: &mut Option<String>,
) -> Result<(Replayed, BTreeMap<LogId, u64>), StorageError> {
    let recovery = Recovery::open(disk, Path::new(DIR), options(seed), 1)?;
    let from = begin.of(recovery.manifest());
    let mut replayed_ops: BTreeMap<LogId, u64> = BTreeMap::new();
    for (log, kept) in &promises.kept {
        match from.as_ref().map(|from| from.floor(log.0, log.1)) {
            // Before the image.
            Some(None) => replayed_ops.insert(*log, *kept),
            Some(Some(start)) if start > 0 => replayed_ops.insert(*log, start),
            _ => None,
        };
    }
    let replayed = recovery.replay(
        from.as_ref(),
        &mut |frame| {
            let log = (frame.first.epoch(), frame.shard);
            let start = from.as_ref().map_or(0, |from| from.floor(log.0, log.1).unwrap_or(u64::MAX));
            let last = replayed_ops.entry(log).or_default();
            let mut expected = Vec::new();
            let straddles = *last == start && frame.first.ops() <= start;
            if frame.first.ops() != *last + 1 && !straddles {
                broken.get_or_insert(format!("{log:?} goes from operation {last} to {}", frame.first.ops()));
            }
            for ops in frame.first.ops()..frame.first.ops() + u64::from(frame.op_count) {
                expected.extend(operation(log, ops));
            }
            if frame.ops != expected {
                broken.get_or_insert(format!("{log:?} has wrong bytes at operation {}", frame.first.ops()));
            }
            *last = frame.first.ops() - 1 + u64::from(frame.op_count);
            Ok(())
        },
        &mut |_, _| {},
    )?;
    Ok((replayed, replayed_ops))
}

/// Opens the directory, which must succeed, and holds it to the promises.
fn verify(disk: &MemDisk, begin: Begin, promises: &Promises) -> Result<(), String> {
    let mut broken = None;
    let (replayed, ops) = open_and_replay(Arc::new(disk.clone()), 0, begin, promises, &mut broken)
        .map_err(|error| error.to_string())?;
    if let Some(broken) = broken {
        return Err(broken);
    }
    for (log, kept) in &promises.kept {
        let found = ops.get(log).copied().unwrap_or(0);
        if found < *kept {
            return Err(format!("{log:?}: {kept} operations were promised, {found} are there"));
        }
    }
    for (log, found) in &ops {
        let appended = promises.appended.get(log).copied().unwrap_or(0);
        let settled = promises.settled.get(log).copied();
        if *found > appended || settled.is_some_and(|settled| settled != *found) {
            return Err(format!(
                "{log:?}: {found} operations, {appended} were appended, settled at {settled:?}"
            ));
        }
    }
    let version = replayed.manifest().catalogue.version;
    start_again(disk, replayed, begin, promises, &ops)?;
    if !(promises.catalogue.0..=promises.catalogue.1).contains(&version) {
        return Err(format!("catalogue version {version}, promised {:?}", promises.catalogue));
    }
    Ok(())
}

/// A start after whatever happened succeeds, changes nothing that is replayed, and leaves no litter.
fn start_again(
    disk: &MemDisk,
    replayed: Replayed,
    begin: Begin,
    promises: &Promises,
    ops: &BTreeMap<LogId, u64>,
) -> Result<(), String> {
    let shards = 2;
    let started = replayed.start(shards, 0).map_err(|error| error.to_string())?;
    if !started.warnings.is_empty() {
        return Err(format!("warnings: {:?}", started.warnings));
    }
    let epochs = &started.directory.manifest().epochs;
    let of_closed = |entry: &EpochEntry| entry.ends.iter().map(|end| u64::from(end.segment) + 2).sum::<u64>();
    // Two files for each shard of the new epoch: its segment, and one to be recycled.
    let files_max = epochs.iter().map(of_closed).sum::<u64>() + 2 * u64::from(shards);
    let files = disk.list(&Path::new(DIR).join("log")).map_err(|error| error.to_string())?;
    if files.len() as u64 > files_max || files.iter().any(|file| file.ends_with(".tmp")) {
        return Err(format!("at most {files_max} files expected: {files:?}"));
    }
    drop(started);
    let (_, again) = open_and_replay(Arc::new(disk.clone()), 0, begin, promises, &mut None)
        .map_err(|error| error.to_string())?;
    if again != *ops {
        return Err(format!("{ops:?} became {again:?} by a start"));
    }
    Ok(())
}

fn append(
    log: &mut ShardLog,
    epoch: u32,
    count: u64,
    now_ms: i64,
    promises: &mut Promises,
) -> Result<(), StorageError> {
    let id = (epoch, log.shard());
    let first = log.written().ops() + 1;
    let mut bytes = Vec::new();
    for ops in first..first + count {
        bytes.extend(operation(id, ops));
    }
    if bytes.len() > log.room() {
        return Ok(());
    }
    promises.appended.insert(id, first - 1 + count);
    log.append(now_ms, count as u32, &bytes)?;
    Ok(())
}

/// One life of a server: recovery, then appends, syncs, spares, idling and catalogue changes in a random order.
fn live(disk: Arc<dyn Disk>, random: &mut SplitMix64, promises: &mut Promises) -> Result<(), StorageError> {
    let mut broken = None;
    let begin = if random.below(4) == 0 { Begin::SecondNewest } else { Begin::Newest };
    let (replayed, ops) = open_and_replay(disk, random.next_word(), begin, promises, &mut broken)?;
    assert_eq!(broken, None);
    let shards = 1 + random.below(3) as u16;
    let mut started = replayed.start(shards, 0)?;
    let epoch = started.directory.manifest().epoch;
    // From here on it would be served.
    for (log, found) in ops {
        promises.kept.insert(log, found);
    }
    let closed: Vec<(LogId, u64)> =
        promises.appended.keys().map(|log| (*log, promises.kept.get(log).copied().unwrap_or(0))).collect();
    promises.settled.extend(closed);
    for now_ms in 0..60 {
        if random.below(30) == 0 {
            publish(&mut started, random)?;
        }
        let shard = random.below(u64::from(shards)) as usize;
        let (log, syncer) = &mut started.logs[shard];
        let id = (epoch, log.shard());
        let outcome = match random.below(10) {
            0..=5 => append(log, epoch, 1 + random.below(12), now_ms, promises),
            6 => syncer.prepare_spare().map(|_| ()),
            7 => syncer.sync().map(|_| ()),
            8 => log.state_durable(now_ms).and_then(|idle| match idle {
                Idle::Sync => syncer.step().map(|_| ()),
                Idle::Nothing => Ok(()),
            }),
            9 if random.below(2) == 0 => started.directory.retain(now_ms + 1).map(|_| ()),
            _ if random.below(8) == 0 => {
                promises.catalogue.1 += 1;
                started.directory.update_catalogue(|_| ()).map(|version| promises.catalogue.0 = version)
            }
            _ => syncer.step().map(|_| ()),
        };
        // Published even if this call failed.
        let durable = log.durable().ops();
        let kept = promises.kept.entry(id).or_default();
        *kept = durable.max(*kept);
        outcome?;
    }
    Ok(())
}

/// Names an image that was begun at some time before now, and that may hold what is durable.
fn publish(started: &mut Started, random: &mut SplitMix64) -> Result<(), StorageError> {
    let mut manifest = started.directory.manifest().clone();
    let ends: Vec<u64> = started.logs.iter().map(|(log, _)| log.durable().ops()).collect();
    let before = manifest
        .images
        .last()
        .filter(|image| image.epoch == manifest.epoch)
        .map(|image| image.starts.clone());
    let before = before.unwrap_or_else(|| vec![0; ends.len()]);
    let starts =
        before.iter().zip(&ends).map(|(before, end)| before + random.below(end - before + 1)).collect();
    manifest.images.push(ImageEntry {
        image: manifest.images.last().map_or(1, |image| image.image + 1),
        epoch: manifest.epoch,
        shards: ends.len() as u16,
        created_ms: 0,
        ended_ms: None,
        starts,
        ends,
        bytes: 0,
        records: 0,
    });
    let surplus = manifest.images.len().saturating_sub(2);
    manifest.images.drain(..surplus);
    started.directory.replace_manifest(manifest)
}

/// Lives of a server on one disk, the last of which the power ends at its `halt`-th change of the disk. True if it got that far.
fn lives(seed: u64, lives_before: u64, halt: u64) -> Result<(MemDisk, Promises, bool), String> {
    let mem = MemDisk::new();
    let mut disk = mem.clone();
    let mut random = SplitMix64::salted(seed, 1);
    let mut promises = Promises::default();
    for life in 0..lives_before {
        harm(&disk, &mut random);
        let outcome = live(Arc::new(disk.clone()), &mut random, &mut promises);
        disk.lose_syncs(0, 0);
        disk.set_capacity_bytes(None);
        match outcome {
            Err(error) if !error.is_poisoned() && !matches!(error, StorageError::Io { .. }) => {
                return Err(error.to_string());
            }
            _ => {}
        }
        // Some lives end with the process, some with the power.
        if random.below(2) == 0 {
            disk = disk.crash(seed ^ life);
        }
    }
    let faulty = FaultyDisk::new(Arc::new(disk.clone()));
    faulty.halt_at(halt);
    let halted =
        live(Arc::new(faulty.clone()), &mut random, &mut promises).is_err() || faulty.calls(Call::Any) > halt;
    Ok((disk, promises, halted))
}

/// Sometimes a sync is lost, sometimes the disk gets full: the life may end early, but no promise may break.
fn harm(disk: &MemDisk, random: &mut SplitMix64) {
    match random.below(4) {
        0 => disk.lose_syncs(random.below(40), 1),
        1 => disk.set_capacity_bytes(Some(disk.used_bytes() + random.below(10 * 8192))),
        _ => {}
    }
}

/// Crashes one history at every `stride`-th call from `offset` on.
fn crash_everywhere(seed: u64, lives_before: u64, offset: u64, stride: u64) -> Result<(), String> {
    let mut halt = offset;
    loop {
        let (disk, promises, halted) = lives(seed, lives_before, halt)?;
        for image in 0..IMAGES {
            verify(&disk.crash(seed ^ image), Begin::of_number(halt + image), &promises).map_err(
                |broken| format!("seed {seed}, {lives_before} lives, call {halt}, image {image}: {broken}"),
            )?;
        }
        // The process alone died: the page cache is still there.
        verify(&disk, Begin::of_number(halt), &promises).map_err(|broken| {
            format!("seed {seed}, {lives_before} lives, call {halt}, same disk: {broken}")
        })?;
        if !halted {
            return Ok(());
        }
        halt += stride;
    }
}

#[test]
fn no_power_loss_at_any_call_breaks_a_promise() {
    for seed in 0..8 {
        for lives_before in 0..3 {
            crash_everywhere(seed, lives_before, seed % 5, 5).unwrap();
        }
    }
}

#[test]
fn no_power_loss_at_any_call_of_a_recovery_breaks_a_promise() {
    for seed in 100..125 {
        // A life cut short leaves something to recover; the crash image is where the next start begins.
        let (disk, promises, _) = lives(seed, 2, 40 + seed % 60).unwrap();
        let image = disk.crash(seed);
        verify(&image.fork(), Begin::of_number(seed), &promises)
            .unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        let mut served = None;
        for halt in 0.. {
            // The same image each time: a crash keeps everything of a disk on which nothing is unsynced.
            let disk = image.crash(0);
            let faulty = FaultyDisk::new(Arc::new(disk.clone()));
            faulty.halt_at(halt);
            let mut broken = None;
            let begin = Begin::Newest;
            let outcome = open_and_replay(Arc::new(faulty.clone()), seed, begin, &promises, &mut broken)
                .and_then(|(replayed, ops)| Ok((replayed.start(3, 0)?, ops)));
            assert_eq!(broken, None, "seed {seed}, call {halt}");
            let mut promises = promises.clone();
            if let Ok((_, ops)) = &outcome {
                promises.kept.extend(ops.clone());
                promises.settled.extend(ops.clone());
                let before = served.get_or_insert_with(|| ops.clone());
                assert_eq!(before, ops, "seed {seed}, call {halt}: two recoveries of one image differ");
            }
            drop(outcome);
            for round in 0..IMAGES {
                verify(&disk.crash(seed ^ round), Begin::of_number(halt + round), &promises)
                    .unwrap_or_else(|broken| panic!("seed {seed}, call {halt}, round {round}: {broken}"));
            }
            if faulty.calls(Call::Any) <= halt {
                break;
            }
        }
    }
}

#[test]
fn the_crash_test_finds_a_log_that_ignores_its_checksums() {
    CHECKS_ARE_IGNORED.set(true);
    let mut found = String::new();
    for seed in 0..12 {
        // Unchecked bytes may also break an assertion: found all the same.
        match catch_unwind(AssertUnwindSafe(|| crash_everywhere(seed, 0, seed % 5, 5))) {
            Ok(Ok(())) => {}
            Ok(Err(broken)) => found = broken,
            Err(_) => write!(found, "seed {seed}: an assertion").expect("a string takes everything"),
        }
        if !found.is_empty() {
            break;
        }
    }
    CHECKS_ARE_IGNORED.set(false);
    assert!(!found.is_empty(), "no crash image showed a torn frame");
}
