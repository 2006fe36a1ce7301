//! Starting from an image: what was in a store is in the store made of its image, whoever comes by first.

use super::{BODY_WORDS, collect_all, insert, key, store, walk::walk};
use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, Handle},
    reclaim::Domain,
    region::{ChunkLost, ChunkSource, FILL_ALIGN, PlannedChunk},
    store::{Cursor, Reader, SCAN_ROWS_MAX, Scan, Store},
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

/// Granules of a chunk as a power of two, as places in an image have them.
const PLACE_SHIFT: u32 = 17;
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An image in memory: what a snapshot would write.
#[derive(Clone, Default)]
struct Image {
    plan: Vec<PlannedChunk>,
    chunks: Vec<Vec<u64>>,
    table: Vec<(u64, u64)>,
}

impl Image {
    fn of(store: &Store) -> Self {
        let mut image = Self::default();
        let mut open = HashMap::new();
        let mut words = Vec::new();
        for row in walk(store, SCAN_ROWS_MAX, |_| ()) {
            let record = store.record(row);
            record.image_words(&mut words);
            let slot_granules = record.slot_granules() as u32;
            let slots = (CHUNK_BYTES / 16) as u32 / slot_granules;
            let has_room = |number: &&mut usize| image.plan[**number].slots_used < slots;
            let number = match open.get_mut(&slot_granules).filter(has_room) {
                Some(number) => *number,
                None => {
                    image.plan.push(PlannedChunk { slot_granules, slots_used: 0 });
                    image.chunks.push(Vec::new());
                    open.insert(slot_granules, image.plan.len() - 1);
                    image.plan.len() - 1
                }
            };
            let granule = u64::from(image.plan[number].slots_used * slot_granules);
            image.plan[number].slots_used += 1;
            image.chunks[number].extend_from_slice(&words);
            image.table.push((record.hash(), (number as u64) << PLACE_SHIFT | granule));
        }
        image
    }

    fn start(&self, bytes_max: usize) -> Start {
        let (domain, mut participants) = Domain::with_participants(1);
        participants[0].quiescent();
        let source = Arc::new(Source { image: self.clone(), copies: AtomicUsize::new(0) });
        let mut store =
            Store::with_image(bytes_max, &domain, self.plan.clone(), Arc::clone(&source) as _).unwrap();
        store.link(self.table.iter().copied()).unwrap();
        store.finish_link().unwrap();
        Start { store, source, participant: participants.pop().unwrap() }
    }
}

/// Words as an image has them.
fn put(bytes: &mut [u8], words: &[u64]) {
    for (to, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
}

struct Source {
    image: Image,
    copies: AtomicUsize,
}

impl ChunkSource for Source {
    fn fill(&self, number: u32, bytes: &mut [u8]) -> Result<(), String> {
        self.copies.fetch_add(1, Ordering::Relaxed);
        put(bytes, &self.image.chunks[number as usize]);
        Ok(())
    }

    fn lost(&self, number: u32, why: ChunkLost) -> ! {
        panic!("chunk {number} is lost: {why}");
    }
}

struct Start {
    store: Store,
    source: Arc<Source>,
    participant: crate::Participant,
}

impl Start {
    fn copies(&self) -> usize {
        self.source.copies.load(Ordering::Relaxed)
    }
}

const ENTITIES: u32 = 40_000;

/// A store with records of several sizes, some removed, all written more than once.
fn grown() -> Store {
    let (mut store, mut participant) = store(64 * CHUNK_BYTES);
    for n in 0..ENTITIES {
        let handle = insert(&mut store, 1, &n.to_be_bytes(), 0);
        let handle = match n % 3 {
            0 => store.resize(handle, 20 + (n % 5) as usize * 17).unwrap(),
            // Slots of more than 16 KiB are stretched.
            1 if n % 1_000 == 1 => store.resize(handle, 3_000).unwrap(),
            _ => handle,
        };
        store.edit(handle).set(0, u64::from(n));
        store.edit(handle).set_position(u64::from(n) + 7);
        if n.is_multiple_of(10) {
            store.remove(handle);
        }
    }
    collect_all(&mut store, &mut participant);
    store
}

fn is_kept(n: u32) -> bool {
    !n.is_multiple_of(10)
}

fn first_word(store: &Store, n: u32) -> Option<u64> {
    store.find(&key(1, &n.to_be_bytes())).map(|handle| store.record(handle).get(0))
}

fn expected(n: u32) -> Option<u64> {
    is_kept(n).then_some(u64::from(n))
}

#[test]
fn owner_finds_every_record_of_the_image_as_it_was_and_no_other() {
    let original = grown();
    let start = Image::of(&original).start(64 * CHUNK_BYTES);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for n in 0..ENTITIES {
        let bytes = n.to_be_bytes();
        let (old, new) = (original.find(&key(1, &bytes)), start.store.find(&key(1, &bytes)));
        assert_eq!((old.is_some(), new.is_some()), (is_kept(n), is_kept(n)), "entity {n}");
        if let (Some(old), Some(new)) = (old, new) {
            original.record(old).image_words(&mut before);
            start.store.record(new).image_words(&mut after);
            assert_eq!(before, after, "entity {n}");
        }
    }
    assert!(start.store.is_adopted());
    assert_eq!(start.copies(), start.source.image.plan.len());
}

#[test]
fn readers_find_every_record_of_the_image_whichever_way_they_look() {
    type Read = fn(&Reader, &crate::Participant, &crate::Key<'_>) -> Option<u64>;
    let ways: [Read; 2] = [
        |reader, participant, key| reader.read(participant, key, |record| record.get(0)).unwrap(),
        |reader, participant, key| {
            reader.prefetch_index(participant, key.hash);
            let hint = reader.prefetch_record(participant, key.hash, 2);
            reader.read_near(participant, key, hint, |record| record.get(0)).unwrap()
        },
    ];
    let image = Image::of(&grown());
    for way in ways {
        let start = image.start(64 * CHUNK_BYTES);
        let reader = start.store.reader();
        for n in (0..ENTITIES).rev() {
            assert_eq!(
                way(&reader, &start.participant, &key(1, &n.to_be_bytes())),
                expected(n),
                "entity {n}"
            );
        }
        assert!(start.store.is_adopted());
    }
}

#[test]
fn walk_comes_by_every_record_of_the_image_and_reads_it() {
    let image = Image::of(&grown());
    let start = image.start(64 * CHUNK_BYTES);
    let reader = start.store.reader();
    let (mut scan, mut cursor, mut read) = (Scan::default(), Some(Cursor::START), Vec::new());
    while let Some(from) = cursor {
        cursor = reader.scan(&start.participant, &mut scan, from, SCAN_ROWS_MAX).unwrap();
        for row in scan.rows() {
            read.extend(reader.read_at(&start.participant, *row, |record| record.hash()).unwrap());
        }
    }
    assert!(read.iter().eq(image.table.iter().map(|(hash, _)| hash)));
}

#[test]
fn books_are_right_before_a_word_of_the_image_is_there() {
    let original = grown();
    let image = Image::of(&original);
    let start = image.start(64 * CHUNK_BYTES);
    let (was, is) = (original.usage(), start.store.usage());
    assert_eq!((is.records, is.record_bytes), (was.records, was.record_bytes));
    assert_eq!(is.chunks_pending, image.plan.len());
    let index_chunks = (is.taken_bytes / CHUNK_BYTES) - image.plan.len();
    assert!(is.block_bytes <= index_chunks * CHUNK_BYTES && index_chunks <= 3, "{is:?}");
    assert!(is.committed_bytes <= is.taken_bytes - image.plan.len() * CHUNK_BYTES, "{is:?}");
    assert_eq!((start.copies(), start.store.is_adopted()), (0, false));
}

#[test]
fn adopter_brings_all_chunks_in_sequence_and_lets_go_of_the_image() {
    let image = Image::of(&grown());
    let start = image.start(64 * CHUNK_BYTES);
    let mut adopter = start.store.adopter();
    assert_eq!((adopter.pending(), adopter.chunks()), (image.plan.len(), image.plan.len()));
    // One is met before its turn.
    let third = Handle::new(1 + 2, 0);
    assert!(start.store.peek(third).is_none(), "a glance brings nothing");
    start.store.record(third);
    let adopted: Vec<u32> = std::iter::from_fn(|| adopter.adopt_next()).collect();
    let others: Vec<u32> = (0..image.plan.len() as u32).filter(|number| *number != 2).collect();
    assert_eq!(adopted, others);
    assert_eq!((adopter.pending(), start.store.is_adopted()), (0, true));
    assert_eq!(start.copies(), image.plan.len());
    assert_eq!(Arc::strong_count(&start.source), 1, "only the test holds the image");
    let usage = start.store.usage();
    assert_eq!((usage.chunks_pending, usage.committed_bytes >= usage.taken_bytes), (0, true));
    assert_eq!(start.copies(), image.plan.len());
}

#[test]
fn free_slots_of_the_images_chunks_are_given_out_and_do_no_harm() {
    let image = Image::of(&grown());
    let mut start = image.start(64 * CHUNK_BYTES);
    let taken = start.store.usage().taken_bytes;
    let rooms: usize = start.store.room_for(key(1, b"1234").record_words(BODY_WORDS));
    let whole = start.store.whole_chunks();
    for n in ENTITIES..ENTITIES + 1_000 {
        let handle = insert(&mut start.store, 1, &n.to_be_bytes(), u64::from(n));
        assert!(handle.chunk() <= image.plan.len(), "an image's chunk has room");
        assert_eq!(start.store.record(handle).get(1), 0, "a slot never used is zero");
    }
    let class_slots = CHUNK_BYTES / start.store.record(Handle::new(1, 0)).slot_bytes();
    assert!(rooms > 1_000 && rooms < (whole + 1) * class_slots + class_slots);
    assert_eq!(start.store.usage().taken_bytes, taken);
    for n in 0..ENTITIES + 1_000 {
        let expected = if n < ENTITIES { expected(n) } else { Some(u64::from(n)) };
        assert_eq!(first_word(&start.store, n), expected, "entity {n}");
    }
}

#[test]
fn records_of_the_image_are_changed_grown_and_removed_as_any_other() {
    let mut start = Image::of(&grown()).start(96 * CHUNK_BYTES);
    for n in (0..ENTITIES).filter(|n| is_kept(*n)) {
        let handle = start.store.find(&key(1, &n.to_be_bytes())).unwrap();
        match n % 4 {
            0 => start.store.remove(handle),
            1 => start.store.edit(handle).set(0, u64::from(n) << 8),
            2 => {
                let moved = start.store.resize(handle, 150).unwrap();
                assert_ne!(moved, handle);
            }
            _ => {}
        }
    }
    collect_all(&mut start.store, &mut start.participant);
    for n in 0..ENTITIES {
        let expected = match (is_kept(n), n % 4) {
            (false, _) | (true, 0) => None,
            (true, 1) => Some(u64::from(n) << 8),
            (true, _) => Some(u64::from(n)),
        };
        assert_eq!(first_word(&start.store, n), expected, "entity {n}");
    }
    assert_eq!(start.store.usage().records, walk(&start.store, 256, |_| ()).len());
}

#[test]
fn image_of_an_image_is_the_same() {
    let first = Image::of(&grown());
    let second = Image::of(&first.start(64 * CHUNK_BYTES).store);
    assert_eq!((second.plan, second.table), (first.plan.clone(), first.table.clone()));
    assert!(second.chunks == first.chunks);
}

#[test]
fn upkeep_leaves_chunks_alone_that_are_not_there_yet() {
    // Chunks of an image are dense, but the last of each size may be nearly empty.
    let (mut original, _participant) = store(16 * CHUNK_BYTES);
    for n in 0..30_000u32 {
        insert(&mut original, 1, &n.to_be_bytes(), u64::from(n));
    }
    let mut start = Image::of(&original).start(16 * CHUNK_BYTES);
    let pending = start.store.usage().chunks_pending;
    assert!(pending > 1);
    for _ in 0..100 {
        assert_eq!(start.store.evacuate(64, |_, _| ()), 0);
        assert_eq!(start.store.squeeze(false), crate::Squeezed::Nothing);
        start.store.collect(100);
        start.store.release_chunk();
    }
    assert_eq!((start.copies(), start.store.usage().chunks_pending), (0, pending));
}

#[test]
fn sparse_chunks_that_are_there_are_emptied_while_others_are_not() {
    let (mut original, _participant) = store(32 * CHUNK_BYTES);
    for n in 0..120_000u32 {
        insert(&mut original, 1, &n.to_be_bytes(), u64::from(n));
    }
    let image = Image::of(&original);
    let mut start = image.start(32 * CHUNK_BYTES);
    assert!(start.store.usage().chunks_pending > 4);
    // The first chunk keeps a record in eight, the second every other one.
    let per_chunk = image.plan[0].slots_used as usize;
    let places = image.table[..2 * per_chunk].iter().map(|(_, place)| place);
    for (index, place) in places.enumerate() {
        let handle =
            Handle::new(1 + (place >> PLACE_SHIFT) as usize, (place & ((1 << PLACE_SHIFT) - 1)) as usize);
        if !index.is_multiple_of(if index < per_chunk { 8 } else { 2 }) {
            start.store.remove(handle);
        }
    }
    collect_all(&mut start.store, &mut start.participant);
    let before = start.store.usage();
    let moves: usize = (0..1_000).map(|_| start.store.evacuate(64, |_, _| ())).sum();
    collect_all(&mut start.store, &mut start.participant);
    let after = start.store.usage();
    assert_eq!(moves, per_chunk.div_ceil(8));
    assert_eq!(after.pool_bytes, before.pool_bytes + CHUNK_BYTES);
    assert_eq!((start.copies(), after.chunks_pending), (2, before.chunks_pending));
}

#[test]
fn samples_come_from_chunks_that_are_there_once_the_adopter_has_begun() {
    let start = Image::of(&grown()).start(64 * CHUNK_BYTES);
    let draw = |seed: u64| {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        start.store.sample(random ^ random >> 31).and_then(|place| start.store.peek(place)).is_some()
    };
    let mut adopter = start.store.adopter();
    adopter.adopt_next();
    adopter.adopt_next();
    let found = (0..1_000).filter(|seed| draw(*seed)).count();
    // The index has a chunk or two, in which no sample is found.
    assert!(found > 600, "only {found} samples");
    assert_eq!(start.copies(), 2);
}

/// Fills the first chunk only when it is let go on, and says when it was asked to.
struct FirstHeld {
    source: Source,
    asked: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl ChunkSource for FirstHeld {
    fn fill(&self, number: u32, bytes: &mut [u8]) -> Result<(), String> {
        if number == 0 {
            self.asked.lock().unwrap().send(()).unwrap();
            // A sender that is gone lets go, too: a failing test ends.
            let _ = self.go_on.lock().unwrap().recv_timeout(PATIENCE);
        }
        self.source.fill(number, bytes)
    }

    fn lost(&self, number: u32, why: ChunkLost) -> ! {
        self.source.lost(number, why)
    }
}

/// A store of an image whose first chunk takes until the sender says so, or is gone; the receiver tells when it is being filled.
fn start_with_first_held(image: &Image) -> (Store, Sender<()>, Receiver<()>) {
    let ((asked, is_asked), (let_go, go_on)) = (channel(), channel());
    let source = Source { image: image.clone(), copies: AtomicUsize::new(0) };
    let held = FirstHeld { source, asked: Mutex::new(asked), go_on: Mutex::new(go_on) };
    let (domain, _none) = Domain::with_participants(0);
    let mut store = Store::with_image(64 * CHUNK_BYTES, &domain, image.plan.clone(), Arc::new(held)).unwrap();
    store.link(image.table.iter().copied()).unwrap();
    store.finish_link().unwrap();
    (store, let_go, is_asked)
}

#[test]
fn samples_wait_for_no_chunk_that_another_is_adopting_once_one_is_there() {
    let (store, let_go, is_asked) = start_with_first_held(&Image::of(&grown()));
    let (mut first, mut second) = (store.adopter(), store.adopter());
    std::thread::scope(|scope| {
        let let_go = let_go;
        scope.spawn(move || first.adopt_next());
        is_asked.recv_timeout(PATIENCE).unwrap();
        assert_eq!(second.adopt_next(), Some(1), "another passes over the chunk that is held");
        let pending = store.usage().chunks_pending;
        for seed in 0..1_000u64 {
            if let Some(place) = store.sample(seed << 32 | seed) {
                assert_ne!(place.chunk(), 1, "a sample of a chunk that is not there");
            }
        }
        assert_eq!(store.usage().chunks_pending, pending, "samples bring none while one is there");
        drop(let_go);
    });
    assert_eq!(store.usage().chunks_pending, second.chunks() - 2);
}

#[test]
fn adopters_can_tell_that_somebody_waits_for_a_chunk() {
    let (store, let_go, is_asked) = start_with_first_held(&Image::of(&grown()));
    let adopter = store.adopter();
    assert!(!adopter.is_somebody_waiting());
    std::thread::scope(|scope| {
        let let_go = let_go;
        let waits = scope.spawn(move || store.record(Handle::new(1, 0)).get(0));
        is_asked.recv_timeout(PATIENCE).unwrap();
        assert!(adopter.is_somebody_waiting(), "one brings the chunk that it needs");
        drop(let_go);
        waits.join().unwrap();
        assert!(!adopter.is_somebody_waiting());
    });
}

#[test]
fn bytes_that_are_pending_are_those_of_the_images_records() {
    let image = Image::of(&grown());
    let start = image.start(64 * CHUNK_BYTES);
    let mut adopter = start.store.adopter();
    let bytes = |chunks: &[Vec<u64>]| chunks.iter().map(|words| size_of_val(words.as_slice())).sum::<usize>();
    assert_eq!(adopter.pending_bytes(), bytes(&image.chunks));
    adopter.adopt_next();
    assert_eq!(adopter.pending_bytes(), bytes(&image.chunks[1..]));
}

#[test]
fn sample_adopts_a_chunk_where_none_is_there() {
    let start = Image::of(&grown()).start(64 * CHUNK_BYTES);
    let place = (0..1_000).find_map(|seed: u64| start.store.sample(seed << 32 | seed)).expect("a record");
    assert!(start.store.peek(place).is_some());
    assert_eq!(start.copies(), 1);
}

#[test]
fn order_of_entries_does_not_matter() {
    let mut image = Image::of(&grown());
    let mut state = 1u64;
    for index in (1..image.table.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        image.table.swap(index, (state >> 33) as usize % (index + 1));
    }
    let start = image.start(64 * CHUNK_BYTES);
    for n in 0..ENTITIES {
        assert_eq!(first_word(&start.store, n), expected(n), "entity {n}");
    }
}

fn refusal(plan: &[PlannedChunk], table: &[(u64, u64)]) -> MemoryError {
    let (domain, _none) = Domain::with_participants(0);
    let source = Arc::new(Source { image: Image::default(), copies: AtomicUsize::new(0) });
    let linked = Store::with_image(16 * CHUNK_BYTES, &domain, plan.to_vec(), source).and_then(|mut store| {
        store.link(table.iter().copied())?;
        store.finish_link()
    });
    linked.expect_err("a plan or table that cannot be")
}

#[test]
fn plan_with_a_chunk_that_cannot_be_is_refused() {
    for (slot_granules, slots_used) in
        [(0, 1), (3, 1), (17, 1), (5, 0), (5, 26_215), (1 << 17, 2), (u32::MAX, 1)]
    {
        let plan =
            [PlannedChunk { slot_granules: 5, slots_used: 1 }, PlannedChunk { slot_granules, slots_used }];
        let error = refusal(&plan, &[]);
        assert!(
            matches!(error, MemoryError::PlannedChunk { number: 1, slot_granules: g, slots_used: u } if (g, u) == (slot_granules, slots_used)),
            "{slot_granules}, {slots_used}: {error}"
        );
    }
}

#[test]
fn place_without_a_record_of_the_plan_is_refused() {
    let plan =
        [PlannedChunk { slot_granules: 5, slots_used: 3 }, PlannedChunk { slot_granules: 8, slots_used: 1 }];
    // Behind the used slots, within a slot, behind the chunks, and beyond any chunk.
    for wrong in [15, 1, 7, 1 << 17 | 8, 2 << 17, 1 << 34, u64::MAX] {
        let error = refusal(&plan, &[(1 << 60, 10), (2 << 60, wrong)]);
        assert!(matches!(error, MemoryError::ImagePlace { place } if place == wrong), "{wrong:x}: {error}");
    }
}

#[test]
fn record_that_is_named_twice_or_not_at_all_is_noticed() {
    let plan = [PlannedChunk { slot_granules: 5, slots_used: 3 }];
    let error = refusal(&plan, &[(1, 0), (2, 5), (3, 0)]);
    assert!(matches!(error, MemoryError::ImagePlace { place: 0 }), "{error}");
    let error = refusal(&plan, &[(1, 0), (2, 10)]);
    assert!(matches!(error, MemoryError::ImageUnnamed { records: 1 }), "{error}");
}

#[test]
fn image_larger_than_the_budget_is_refused() {
    let plan = vec![PlannedChunk { slot_granules: 5, slots_used: 1 }; 16];
    let error = refusal(&plan, &[]);
    assert!(matches!(error, MemoryError::Full { bytes_max } if bytes_max == 16 * CHUNK_BYTES), "{error}");
    let error = refusal(&[PlannedChunk { slot_granules: 4, slots_used: 1 << 15 }; 15], &[]);
    assert!(error.is_out_of_memory(), "there is no room for the index: {error}");
}

#[test]
fn empty_image_is_an_empty_store() {
    let mut start = Image::default().start(8 * CHUNK_BYTES);
    assert!(start.store.is_adopted() && start.store.adopter().adopt_next().is_none());
    assert_eq!(first_word(&start.store, 1), None);
    insert(&mut start.store, 1, &1u32.to_be_bytes(), 1);
    assert_eq!(first_word(&start.store, 1), Some(1));
}

/// Sources that do as they are told.
struct Bad<F>(F);

impl<F> ChunkSource for Bad<F>
where
    F: Fn(&mut [u8]) -> Result<(), String> + Send + Sync,
{
    fn fill(&self, _number: u32, bytes: &mut [u8]) -> Result<(), String> {
        (self.0)(bytes)
    }

    fn lost(&self, number: u32, why: ChunkLost) -> ! {
        std::panic::resume_unwind(Box::new(format!("{number}: {why}")));
    }
}

/// What a source makes of the words it should put down.
type Spoil = fn(&[u64]) -> Result<Vec<u64>, String>;

/// What becomes of a store of one record whose words are put down so: what `lost` was told, at the first look and at one after it.
fn loss(spoil: Spoil) -> [String; 2] {
    let (mut original, _participant) = store(8 * CHUNK_BYTES);
    insert(&mut original, 1, b"a", 5);
    let image = Image::of(&original);
    let (domain, _none) = Domain::with_participants(0);
    let words = image.chunks[0].clone();
    let source = Arc::new(Bad(move |bytes: &mut [u8]| {
        put(bytes, &spoil(&words)?);
        Ok(())
    }));
    let mut store = Store::with_image(8 * CHUNK_BYTES, &domain, image.plan.clone(), source).unwrap();
    store.link(image.table.iter().copied()).unwrap();
    [(); 2].map(|()| {
        let look = AssertUnwindSafe(|| store.find(&key(1, b"a")).map(|handle| store.record(handle).get(0)));
        let lost = catch_unwind(look).expect_err("a chunk that cannot be had");
        *lost.downcast::<String>().expect("what lost was told")
    })
}

#[test]
fn chunk_that_cannot_be_had_is_lost_for_all_who_meet_it() {
    let cases: [(Spoil, &str); 5] = [
        (|_| Err("a bad sector".to_owned()), "a bad sector"),
        (|_| Ok(vec![]), "its slot 0 holds no whole record"),
        (|words| Ok(words[1..].to_vec()), "its slot 0 holds no whole record"),
        (|words| Ok(vec![0; words.len()]), "its slot 0 holds no whole record"),
        // A sequence that is odd: it was being written.
        (|words| Ok([&[words[0] | 1 << 33], &words[1..]].concat()), "its slot 0 holds no whole record"),
    ];
    for (spoil, why) in cases {
        let [first, second] = loss(spoil);
        assert!(first.starts_with("0: ") && first.contains(why), "{first}");
        assert_eq!(second, "0: another thread gave up reading it");
    }
}

#[test]
fn what_a_source_leaves_behind_the_records_is_cleared() {
    let (mut original, _participant) = store(8 * CHUNK_BYTES);
    insert(&mut original, 1, b"a", 5);
    let image = Image::of(&original);
    let (domain, _none) = Domain::with_participants(0);
    let words = image.chunks[0].clone();
    let record_words = words.len();
    let source = Arc::new(Bad(move |bytes: &mut [u8]| {
        // Pages behind the block of the last word are neither given out nor touched.
        assert_eq!((bytes.len(), bytes.as_ptr().addr() % CHUNK_BYTES), (FILL_ALIGN, 0));
        bytes.fill(0xff);
        put(bytes, &words);
        Ok(())
    }));
    let mut store = Store::with_image(8 * CHUNK_BYTES, &domain, image.plan.clone(), source).unwrap();
    store.link(image.table.iter().copied()).unwrap();
    store.finish_link().unwrap();
    assert_eq!(store.find(&key(1, b"a")).map(|handle| store.record(handle).get(0)), Some(5));
    for slot in 1..CHUNK_BYTES / size_of::<u64>() / record_words {
        let behind = store.shared.region.slot(Handle::new(1, slot * record_words / 2)).expect("a slot");
        assert!(behind.iter().all(|word| word.load(Ordering::Relaxed) == 0), "slot {slot}");
    }
}
