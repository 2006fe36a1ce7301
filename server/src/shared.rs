//! What all threads of one server share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use windrow_engine::Catalogue;
use windrow_storage::Poison;

use crate::admin::AdminMessage;
use crate::backfill::RunningBackfill;
use crate::clock::Clock;
use crate::commands::resident_bytes;
use crate::config::Config;
use crate::connection::Clients;
use crate::shard::ShardHandle;

/// The state of one server.
pub(crate) struct Shared {
    config: RwLock<Arc<Config>>,
    config_version: AtomicU64,
    catalogue: Mutex<Arc<Catalogue>>,
    catalogue_version: AtomicU64,
    pub(crate) clock: Clock,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) clients: Clients,
    pub(crate) admin: Sender<AdminMessage>,
    pub(crate) loading: Loading,
    poison: OnceLock<Poison>,
    pub(crate) ending: Ending,
    /// Forty hexadecimal digits, new at each start.
    pub(crate) run_id: String,
    /// Port that is listened on.
    pub(crate) port: u16,
    /// The backfill that is running.
    pub(crate) backfill: RunningBackfill,
    /// Whether a WINDOW.TOP is running: there is one at a time.
    pub(crate) top_turn: Arc<AtomicBool>,
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
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) clock: Clock,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) admin: Sender<AdminMessage>,
    pub(crate) run_id: String,
    pub(crate) port: u16,
}

impl Shared {
    pub(crate) fn new(parts: SharedParts) -> Self {
        let catalogue_version = AtomicU64::new(parts.catalogue.version);
        Shared {
            config: RwLock::new(Arc::new(parts.config)),
            config_version: AtomicU64::new(0),
            catalogue: Mutex::new(parts.catalogue),
            catalogue_version,
            clock: parts.clock,
            shards: parts.shards,
            clients: Clients::default(),
            admin: parts.admin,
            loading: Loading::default(),
            poison: OnceLock::new(),
            ending: Ending::default(),
            run_id: parts.run_id,
            port: parts.port,
            backfill: RunningBackfill::default(),
            top_turn: Arc::default(),
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

    /// Notes what the process takes beside its records.
    pub(crate) fn measure_startup(&self) {
        let records: u64 = self
            .shards
            .iter()
            .map(|shard| shard.numbers.memory.committed_bytes.load(Ordering::Relaxed))
            .sum();
        self.startup_bytes.store(resident_bytes().saturating_sub(records), Ordering::Relaxed);
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
}

/// How far recovery is, to be shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadingProgress {
    pub(crate) percent: u64,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) operations: u64,
}

impl fmt::Display for LoadingProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoadingProgress { percent, done_bytes, total_bytes, operations } = self;
        write!(f, "{percent} % ({done_bytes} of {total_bytes} bytes, {operations} ops)")
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
