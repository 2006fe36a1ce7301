//! What all threads of one server share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use windrow_engine::Catalogue;
use windrow_memory::Adopter;
use windrow_storage::{ImageEntry, LogFiles, Manifest, Poison};

use crate::acl::{AclStore, Users};
use crate::admin::AdminMessage;
use crate::anew::Anew;
use crate::backfill::RunningBackfill;
use crate::clock::Clock;
use crate::commands::resident_bytes;
use crate::config::Config;
use crate::connection::Clients;
use crate::shard::ShardHandle;
use crate::snapshot::{EndWith, FreeSpace, NewestImage, SaveRequest, Saving};
use crate::timing::{LatencyEvent, LatencyMonitor, Slowlog};

/// The state of one server.
pub(crate) struct Shared {
    config: RwLock<Arc<Config>>,
    config_version: AtomicU64,
    pub(crate) acl: AclStore,
    catalogue: Mutex<Arc<Catalogue>>,
    catalogue_version: AtomicU64,
    pub(crate) clock: Clock,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) clients: Clients,
    pub(crate) admin: Sender<AdminMessage>,
    pub(crate) loading: Loading,
    pub(crate) saving: Saving,
    pub(crate) free_space: FreeSpace,
    pub(crate) anew: Anew,
    poison: OnceLock<Poison>,
    /// Once there is a log.
    log_files: OnceLock<LogFiles>,
    /// One for each shard, to see how much of an image is not in memory yet.
    adopters: OnceLock<Box<[Adopter]>>,
    pub(crate) ending: Ending,
    /// Forty hexadecimal digits, new at each start.
    pub(crate) run_id: String,
    /// Port that is listened on.
    pub(crate) port: u16,
    /// The backfill that is running.
    pub(crate) backfill: RunningBackfill,
    /// Whether a WINDOW.TOP is running: there is one at a time.
    pub(crate) top_turn: Arc<AtomicBool>,
    pub(crate) slowlog: Slowlog,
    pub(crate) latency: LatencyMonitor,
    pub(crate) rejected_connections: AtomicU64,
    pub(crate) total_connections: AtomicU64,
    /// What the process took, records and clients apart, when it began to serve.
    pub(crate) startup_bytes: AtomicU64,
    /// The most memory that was seen in use.
    pub(crate) peak_bytes: AtomicU64,
}

/// What a [`Shared`] is made of.
pub(crate) struct SharedParts {
    pub(crate) config: Config,
    pub(crate) users: Users,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) clock: Clock,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) admin: Sender<AdminMessage>,
    pub(crate) save_requests: Sender<SaveRequest>,
    pub(crate) free_space: FreeSpace,
    pub(crate) run_id: String,
    pub(crate) port: u16,
}

impl Shared {
    pub(crate) fn new(parts: SharedParts) -> Self {
        let catalogue_version = AtomicU64::new(parts.catalogue.version);
        Shared {
            config: RwLock::new(Arc::new(parts.config)),
            config_version: AtomicU64::new(0),
            acl: AclStore::new(parts.users),
            catalogue: Mutex::new(parts.catalogue),
            catalogue_version,
            clock: parts.clock,
            shards: parts.shards,
            clients: Clients::default(),
            admin: parts.admin,
            loading: Loading::default(),
            saving: Saving::new(parts.save_requests),
            free_space: parts.free_space,
            anew: Anew::default(),
            poison: OnceLock::new(),
            log_files: OnceLock::new(),
            adopters: OnceLock::new(),
            ending: Ending::default(),
            run_id: parts.run_id,
            port: parts.port,
            backfill: RunningBackfill::default(),
            top_turn: Arc::default(),
            slowlog: Slowlog::default(),
            latency: LatencyMonitor::default(),
            rejected_connections: AtomicU64::new(0),
            total_connections: AtomicU64::new(0),
            startup_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts changes of the configuration: a shard compares it once a tick.
    #[inline]
    pub(crate) fn config_version(&self) -> u64 {
        self.config_version.load(Ordering::Acquire)
    }

    /// Changes the configuration if `change` succeeds on a copy of it.
    pub(crate) fn change_config(
        &self,
        change: impl FnOnce(&mut Config) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut present = self.config.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Config::clone(&present);
        change(&mut changed)?;
        *present = Arc::new(changed);
        self.config_version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The newest catalogue.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Version of the newest catalogue: a shard compares it once a tick.
    #[inline]
    pub(crate) fn catalogue_version(&self) -> u64 {
        self.catalogue_version.load(Ordering::Acquire)
    }

    /// Publishes a catalogue that the manifest has. Only the admin thread does.
    pub(crate) fn publish_catalogue(&self, catalogue: Arc<Catalogue>) {
        let version = catalogue.version;
        *self.catalogue.lock().unwrap_or_else(PoisonError::into_inner) = catalogue;
        self.catalogue_version.store(version, Ordering::Release);
    }

    /// The log's switch, once there is a log.
    pub(crate) fn set_poison(&self, poison: Poison) {
        let is_first = self.poison.set(poison).is_ok();
        debug_assert!(is_first, "a server loads once");
    }

    /// Why the log has failed, if it has.
    pub(crate) fn log_failure(&self) -> Option<&str> {
        self.poison.get()?.reason()
    }

    /// Changes since the beginning of this process, the operations that it loaded included.
    pub(crate) fn changes(&self) -> u64 {
        let written = self.shards.iter().map(|shard| shard.numbers.log_written.load(Ordering::Relaxed));
        self.loaded_ops() + written.sum::<u64>() + self.catalogue_version()
    }

    /// Operations of the log that this process has loaded.
    pub(crate) fn loaded_ops(&self) -> u64 {
        self.loading.operations.load(Ordering::Relaxed)
    }

    /// Takes note of how the shards' images come into memory.
    pub(crate) fn note_adopters(&self, adopters: Box<[Adopter]>) {
        let is_first = self.adopters.set(adopters).is_ok();
        debug_assert!(is_first, "a server loads once");
    }

    /// Chunks of the image that are not in memory yet.
    pub(crate) fn chunks_pending(&self) -> usize {
        self.adopters.get().map_or(0, |adopters| adopters.iter().map(Adopter::pending).sum())
    }

    /// The books of the log's files, once there is a log.
    pub(crate) fn log_files(&self) -> Option<&LogFiles> {
        self.log_files.get()
    }

    /// Notes which images and which log there are, when the server was loaded from this image and the log behind it.
    pub(crate) fn note_files(&self, files: &LogFiles, manifest: &Manifest, loaded: Option<u64>) {
        let is_first = self.log_files.set(files.clone()).is_ok();
        debug_assert!(is_first, "a server loads once");
        // Newer ones could not be used, and go with the next that is published.
        let usable = |image: &&ImageEntry| Some(image.image) <= loaded;
        let images: Vec<&ImageEntry> = manifest.images.iter().filter(usable).collect();
        self.saving.note_found(images.last().map(|image| NewestImage::of(image)), images.len());
        // All that was loaded from the log.
        self.saving.note_saved(self.catalogue_version());
    }

    /// Changes that the newest image does not hold.
    pub(crate) fn unsaved_changes(&self) -> u64 {
        self.saving.unsaved(self.changes())
    }

    /// Ends the server, with an image or without. Does not wait.
    pub(crate) fn end(&self, end: EndWith) {
        self.anew.note_end();
        // What was loaded halfway, or may not be what is on disk, is no image.
        let may_save = self.loading.is_finished() && self.log_failure().is_none();
        if end == EndWith::Nothing || !may_save {
            return self.end_now();
        }
        if !self.saving.request_end(end) {
            self.end_now();
        }
    }

    /// Ends the server at once: what is acknowledged is synced.
    pub(crate) fn end_now(&self) {
        self.anew.note_end();
        self.ending.request();
        self.wake_all();
    }

    /// Notes what the process takes beside `record_bytes` of chunks.
    pub(crate) fn measure_startup(&self, record_bytes: usize) {
        let bytes = resident_bytes().saturating_sub(record_bytes as u64);
        self.startup_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Something beside the shards took so long: LATENCY may want to know.
    pub(crate) fn note_latency(&self, event: LatencyEvent, took: Duration) {
        let threshold_ms = u128::from(self.config().latency_threshold_ms);
        if threshold_ms > 0 && took.as_millis() >= threshold_ms {
            self.latency.add(event, self.clock.now_ms().div_euclid(1_000), took);
        }
    }

    /// Wakes every shard that sleeps.
    pub(crate) fn wake_all(&self) {
        for shard in &self.shards {
            shard.wake();
        }
    }
}

/// How far recovery is.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    finished: AtomicBool,
    pub(crate) done_bytes: AtomicU64,
    pub(crate) total_bytes: AtomicU64,
    pub(crate) operations: AtomicU64,
    /// An image is being read, not the log.
    pub(crate) is_image: AtomicBool,
}

/// How far recovery is, to be shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadingProgress {
    pub(crate) percent: u64,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) operations: u64,
    is_image: bool,
}

impl fmt::Display for LoadingProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoadingProgress { percent, done_bytes, total_bytes, operations, is_image } = self;
        if *is_image {
            return write!(f, "loading an image: {percent} % ({done_bytes} of {total_bytes} bytes)");
        }
        write!(f, "loading the log: {percent} % ({done_bytes} of {total_bytes} bytes, {operations} ops)")
    }
}

impl Loading {
    #[inline]
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    pub(crate) fn progress(&self) -> LoadingProgress {
        let done_bytes = self.done_bytes.load(Ordering::Relaxed);
        let total_bytes = self.total_bytes.load(Ordering::Relaxed).max(done_bytes);
        let percent = (done_bytes * 100).checked_div(total_bytes).unwrap_or(0);
        LoadingProgress {
            percent,
            done_bytes,
            total_bytes,
            operations: self.operations.load(Ordering::Relaxed),
            is_image: self.is_image.load(Ordering::Relaxed),
        }
    }
}

/// The end of the server, in steps: requested, every shard drained.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    requested: AtomicBool,
    drained: AtomicUsize,
}

impl Ending {
    #[inline]
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// True for the first request.
    pub(crate) fn request(&self) -> bool {
        !self.requested.swap(true, Ordering::AcqRel)
    }

    /// One more shard has nothing in flight.
    pub(crate) fn shard_drained(&self) {
        self.drained.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn drained(&self) -> usize {
        self.drained.load(Ordering::Acquire)
    }
}
