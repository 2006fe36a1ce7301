//! Shards out of an image.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use windrow_engine::state::{Import, Records, Share, StateError};
use windrow_engine::{Catalogue, Shard, ShardConfig};
use windrow_memory::{ChunkLost, ChunkSource, MemoryError, PlannedChunk};
use windrow_storage::image::{ChunkBuffer, GRANULE_BYTES, ImageError, ImageHeader, ImageName, ImageReader};
use windrow_storage::{Disk, ImageEntry, Position};

use super::{OnLost, Phase, Progress, Setup, StartError, Watch, Workers};
use crate::snapshot::key_check;
use crate::start::Job;

/// So often a chunk is read again that the disk did not read.
const READ_AGAIN_MAX: u32 = 4;

/// An image that is tried.
pub(super) struct Source<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) dir: &'a Path,
    pub(super) entry: &'a ImageEntry,
}

/// Why an image cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Nor could another one.
    Fatal(StartError),
    /// A file is missing, or the disk did not read it: it may be whole.
    Unreadable(ImageError),
    /// The file of this shard is not what was written.
    Damaged { shard: u16, reason: String },
}

impl Unusable {
    fn file(shard: u16, error: ImageError) -> Self {
        match error {
            ImageError::Format { .. } => Self::Fatal(StartError::Format(error)),
            error if error.is_damage() => Self::Damaged { shard, reason: error.to_string() },
            error => Self::Unreadable(error),
        }
    }

    /// Whole, by its checksums, and written by a version that knows more: to put it aside would cost that version its image.
    fn format(image: u64, shard: u16, reason: String) -> Self {
        Self::Fatal(StartError::FormatOfState { image: ImageName { image, shard }, reason })
    }

    fn state(image: u64, shard: u16, error: StateError) -> Self {
        match error {
            StateError::Memory(error) => Self::Fatal(StartError::Memory(error)),
            StateError::Format { reason } => Self::format(image, shard, reason),
            error => Self::Damaged { shard, reason: error.to_string() },
        }
    }

    pub(super) fn memory(image: u64, shard: u16, error: MemoryError) -> Self {
        match error {
            // The directory passed its checksum: slots of another version.
            MemoryError::PlannedChunk { .. } => Self::format(image, shard, error.to_string()),
            MemoryError::ImagePlace { .. } | MemoryError::ImageUnnamed { .. } => {
                Self::Damaged { shard, reason: error.to_string() }
            }
            error => Self::Fatal(StartError::Memory(error)),
        }
    }
}

/// What the jobs of all shards look at.
struct Build<'a> {
    setup: &'a Setup<'a>,
    config: ShardConfig,
    entry: &'a ImageEntry,
    /// By shard of the image.
    files: Vec<Arc<ImageReader>>,
    watch: &'a dyn Watch,
    done_bytes: AtomicU64,
    total_bytes: u64,
}

/// The shards of the setup, with what the image has.
pub(super) fn build(
    source: &Source<'_>,
    setup: &Setup<'_>,
    config: ShardConfig,
    workers: &dyn Workers,
    watch: &dyn Watch,
) -> Result<Vec<Shard>, Unusable> {
    let files = (0..source.entry.shards).map(|shard| open(source, config, shard).map(Arc::new));
    let mut build = Build {
        setup,
        config,
        entry: source.entry,
        files: files.collect::<Result<_, _>>()?,
        watch,
        done_bytes: AtomicU64::new(0),
        total_bytes: 0,
    };
    build.total_bytes = (0..setup.shards).map(|shard| build.bytes_for(shard)).sum();
    let mut built: Vec<Option<Result<Shard, Unusable>>> = (0..setup.shards).map(|_| None).collect();
    let jobs = built.iter_mut().zip(0..).map(|(built, shard)| {
        let build = &build;
        Box::new(move || *built = Some(build.shard(shard))) as Job<'_>
    });
    workers.run(jobs.collect());
    built.into_iter().map(|built| built.expect("every job is done")).collect()
}

/// Opens the file of a shard, if it is the one that the manifest means.
fn open(source: &Source<'_>, config: ShardConfig, shard: u16) -> Result<ImageReader, Unusable> {
    let entry = source.entry;
    let file = ImageReader::open(source.disk, source.dir, entry.image, shard);
    let file = file.map_err(|error| Unusable::file(shard, error))?;
    let expected = ImageHeader {
        image: entry.image,
        epoch: entry.epoch,
        shard,
        shards: entry.shards,
        key_check: key_check(config.hash_key),
        created_ms: entry.created_ms,
    };
    if *file.header() != expected {
        let reason = format!("its header says {:?} where {expected:?} should be", file.header());
        return Err(Unusable::Damaged { shard, reason });
    }
    Ok(file)
}

impl Build<'_> {
    fn share(&self, shard: u16) -> Share {
        Share { shard, shards: self.setup.shards }
    }

    fn image_share(&self, shard: u16) -> Share {
        Share { shard, shards: self.entry.shards }
    }

    fn is_linked(&self) -> bool {
        self.setup.shards == self.entry.shards
    }

    /// The files with groups of hash slots that a shard owns now.
    fn files_for(&self, shard: u16) -> impl Iterator<Item = (u16, &Arc<ImageReader>)> {
        let own = self.share(shard);
        self.files.iter().zip(0..).map(|(file, from)| (from, file)).filter(move |&(from, _)| {
            let from = self.image_share(from);
            (0..=u8::MAX).any(|group| own.owns(group) && from.owns(group))
        })
    }

    fn bytes_for(&self, shard: u16) -> u64 {
        self.files_for(shard).map(|(_, file)| file.bytes()).sum()
    }

    fn shard(&self, shard: u16) -> Result<Shard, Unusable> {
        if self.is_linked() { self.linked(shard) } else { self.redealt(shard) }
    }

    fn check_cancelled(&self) -> Result<(), Unusable> {
        if self.watch.is_cancelled() { Err(Unusable::Fatal(StartError::Cancelled)) } else { Ok(()) }
    }

    fn done(&self, file: &ImageReader) {
        let before_bytes = self.done_bytes.fetch_add(file.bytes(), Ordering::Relaxed);
        self.watch.progress(Progress {
            phase: Phase::Image,
            done_bytes: before_bytes + file.bytes(),
            total_bytes: self.total_bytes,
            operations: 0,
        });
    }

    /// A shard that is in the image as it is.
    fn linked(&self, shard: u16) -> Result<Shard, Unusable> {
        self.check_cancelled()?;
        let file = &self.files[usize::from(shard)];
        let memory = |error| Unusable::memory(self.entry.image, shard, error);
        let plan = file
            .chunks()
            .iter()
            .map(|chunk| PlannedChunk { slot_granules: chunk.slot_granules, slots_used: chunk.slots_used });
        let chunks = Arc::new(Chunks {
            file: Arc::clone(file),
            name: ImageName { image: self.entry.image, shard },
            on_lost: Arc::clone(&self.setup.on_lost),
        });
        let mut engine =
            Shard::with_image(self.config, self.setup.domain, plan.collect(), chunks).map_err(memory)?;
        let mut linked = Ok(());
        file.table(&mut |entries| {
            if linked.is_ok() {
                linked = engine.link(entries.iter().map(|entry| (entry.hash, entry.place)));
            }
        })
        .map_err(|error| Unusable::file(shard, error))?;
        linked.and_then(|()| engine.finish_link()).map_err(memory)?;
        self.import(&mut engine, shard, shard, file)?;
        self.done(file);
        Ok(engine)
    }

    /// A shard of another number of shards: what it owns is copied out of all files.
    fn redealt(&self, shard: u16) -> Result<Shard, Unusable> {
        let mut engine = Shard::new(self.config, self.setup.domain)
            .map_err(|error| Unusable::Fatal(StartError::Memory(error)))?;
        let mut buffer = ChunkBuffer::default();
        for (from, file) in self.files_for(shard) {
            for (chunk, number) in file.chunks().iter().zip(0..) {
                self.check_cancelled()?;
                let words =
                    file.chunk_words(number, &mut buffer).map_err(|error| Unusable::file(from, error))?;
                let slot_words = chunk.slot_granules as usize * GRANULE_BYTES / size_of::<u64>();
                for slot in words.chunks_exact(slot_words) {
                    engine
                        .insert_copied(self.setup.catalogue, self.share(shard), slot)
                        .map_err(|error| Unusable::state(self.entry.image, from, error))?;
                }
            }
            self.done(file);
        }
        for (file, from) in self.files.iter().zip(0..) {
            // Of those that it owns nothing of, the first shard takes the counters.
            if shard == 0 || self.files_for(shard).any(|(wanted, _)| wanted == from) {
                self.import(&mut engine, shard, from, file)?;
            }
        }
        Ok(engine)
    }

    /// Gives a shard what it owns of the state of a shard of the image.
    fn import(&self, engine: &mut Shard, shard: u16, from: u16, file: &ImageReader) -> Result<(), Unusable> {
        let catalogue: &Catalogue = self.setup.catalogue;
        let end = Position::new(self.entry.epoch, self.entry.ends[usize::from(from)])
            .map_err(|error| Unusable::Fatal(StartError::Storage(error)))?;
        let records = if self.is_linked() { Records::Linked } else { Records::Inserted };
        let mut import = Import::new(self.share(shard), self.image_share(from), records, end.pack());
        let mut taken = Ok(());
        file.state(&mut |piece| {
            if taken.is_ok() {
                taken = import.take(engine, catalogue, piece);
            }
        })
        .map_err(|error| Unusable::file(from, error))?;
        taken
            .and_then(|()| import.finish(engine))
            .map_err(|error| Unusable::state(self.entry.image, from, error))
    }
}

/// The chunks of one file, for whoever meets them.
struct Chunks {
    file: Arc<ImageReader>,
    name: ImageName,
    on_lost: Arc<dyn OnLost>,
}

impl ChunkSource for Chunks {
    fn fill(&self, number: u32, bytes: &mut [u8]) -> Result<(), String> {
        let mut failures = 0;
        loop {
            match self.file.fill_chunk(number, bytes) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_damage() => return Err(error.to_string()),
                // A disk that hiccups says nothing of the file.
                Err(error) if failures == READ_AGAIN_MAX => self.on_lost.unreadable(self.name, &error),
                Err(_) => {
                    failures += 1;
                    self.on_lost.wait_for_disk(failures);
                }
            }
        }
    }

    fn lost(&self, _number: u32, why: ChunkLost) -> ! {
        self.on_lost.lost(self.name, why)
    }
}
