//! Starting and ending a server: threads, sockets, data directory.
//!
//! ```text
//!   start:  lock directory, read manifest ─ listen ─ shards (answer -LOADING) ─ loader: replay ─ sync threads ─ serve
//!   end:    shards drain and stop ─ sync threads stop ─ last sync of every log ─ directory unlocked
//! ```

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use mio::net::TcpListener;
use mio::{Poll, Waker};
use socket2::{Domain, Protocol, Socket, Type};
use windrow_durability::{CatalogueStore, catalogue};
use windrow_engine::Catalogue;
use windrow_memory::Populator;
use windrow_storage::disk::RealDisk;
use windrow_storage::{DataDir, Disk, Idle, LogSyncer, Recovery, ShardLog, StorageError, StorageOptions};

use crate::acl::{self, Users};
use crate::admin::{Admin, AdminMessage};
use crate::adoption;
use crate::affinity;
use crate::anew::LostImage;
use crate::backfill::Backfiller;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::ServerError;
use crate::loader;
use crate::populate;
use crate::route::Links;
use crate::shard::{Listeners, ShardHandle, ShardLoop, ShardParts};
use crate::shared::{Shared, SharedParts};
use crate::snapshot::{self, EndWith, FreeSpace, Loans, SaveRequest};
use crate::streams_file::{self, Declared};
use crate::sync_thread::{self, SyncSignal};
use crate::watchdog;

/// A server. [`Server::start`] is all there is to it.
#[derive(Debug)]
pub struct Server;

/// A server that runs; dropping it ends it.
pub struct Running {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    supervisor: Option<JoinHandle<Result<(), ServerError>>>,
}

/// By which any thread can ask a server to end.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl Stopper {
    /// Asks the server to end as SHUTDOWN does: what is acknowledged is synced. Does not wait.
    pub fn stop(&self) {
        self.shared.end_now();
    }

    /// The same after an image, where the setting `save` is on and something changed, so that the next start is quick.
    pub fn stop_with_image(&self) {
        self.shared.end(EndWith::ImageIfChanged);
    }
}

impl Running {
    /// The first address that is listened on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses that are listened on.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A handle to end the server by.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { shared: Arc::clone(&self.shared) }
    }

    /// Says why the server cannot go on, when it meets a damaged image: whoever listens [sees to the rest](crate::anew::after).
    /// Without a listener the process ends.
    #[must_use]
    pub fn lost_image(&self) -> Receiver<LostImage> {
        self.shared.anew.listen()
    }

    /// Whether the log is loaded and data commands are served.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.shared.loading.is_finished()
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    /// Why it ended, if nobody asked it to.
    pub fn wait(mut self) -> Result<(), ServerError> {
        self.join()
    }

    /// Ends the server: everything acknowledged is synced, the directory is unlocked.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn shutdown(mut self) -> Result<(), ServerError> {
        self.stopper().stop();
        self.join()
    }

    fn join(&mut self) -> Result<(), ServerError> {
        match self.supervisor.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper().stop();
        if let Err(error) = self.join() {
            tracing::error!("{error}");
        }
    }
}

impl Server {
    /// Starts a server. It listens when this returns; until the log is loaded it answers -LOADING.
    ///
    /// # Errors
    /// Settings, sockets, threads, or a data directory that cannot be used.
    pub fn start(config: Config) -> Result<Running, ServerError> {
        Server::start_with(config, Arc::new(RealDisk), Clock::system(), Arc::new(snapshot::free_bytes))
    }

    /// The same with disk and clock of the caller's choice; how much room is on the disk is not known.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_on(config: Config, disk: Arc<dyn Disk>, clock: Clock) -> Result<Running, ServerError> {
        Server::start_with(config, disk, clock, Arc::new(|_| None))
    }

    /// And with the look at the room on the disk.
    pub(crate) fn start_with(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Clock,
        free_space: FreeSpace,
    ) -> Result<Running, ServerError> {
        config.validate().map_err(ServerError::Config)?;
        let file_streams = match &config.streams {
            Some(path) => streams_file::read(path)?,
            None => Vec::new(),
        };
        let users = read_users(&config)?;
        let options = StorageOptions {
            segment_bytes: config.log_segment_bytes,
            first_segment_bytes: config.log_segment_bytes.min(FIRST_SEGMENT_BYTES),
            fill: sync_thread::fill_for(config.appendfsync),
            retention: config.retention(),
            ..StorageOptions::new(random_word()?)
        };
        let hash_key = u128::from(random_word()?) << 64 | u128::from(random_word()?);
        let recovery = Recovery::open(disk, &config.dir, options, hash_key)?;
        let catalogue = catalogue::load(recovery.manifest())?;
        check_file_streams(&catalogue, &file_streams)?;
        let sockets = listen(&config)?;
        let addresses = sockets
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<Vec<_>, _>>()
            .map_err(ServerError::system("the address of a listening socket"))?;
        warn_if_protected(&config, &users, &addresses);
        let server = Assembly::new(config, users, catalogue, clock, free_space, addresses[0].port())?;
        let shared = Arc::clone(&server.shared);
        let supervisor = server.run(sockets, recovery, file_streams)?;
        Ok(Running { addresses, shared, supervisor: Some(supervisor) })
    }
}

/// The first segment of an epoch is made while clients wait.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;

pub(crate) fn random_word() -> Result<u64, ServerError> {
    getrandom::u64().map_err(|error| ServerError::System {
        what: "a random number",
        source: std::io::Error::other(error),
    })
}

/// A stream of the file that exists must be the same, or become so by STREAM.ALTER.
fn check_file_streams(catalogue: &Catalogue, file_streams: &[Declared]) -> Result<(), ServerError> {
    for Declared { definition, .. } in file_streams {
        let Some(existing) = catalogue.stream(definition.name.as_bytes()) else { continue };
        if let Err(reason) = existing.definition.altered_to(definition) {
            return Err(ServerError::StreamOfFile(format!(
                "stream '{}' exists with another definition, and {reason}:{}",
                definition.name,
                existing.definition.diff(definition)
            )));
        }
    }
    Ok(())
}

/// The users of the ACL file; without one, the default user alone.
fn read_users(config: &Config) -> Result<Users, ServerError> {
    match &config.aclfile {
        Some(path) => acl::read_file(path, &config.requirepass).map_err(|error| {
            ServerError::AclFile(format!(
                "{error} (a server with the setting aclfile needs the file, which may be empty)"
            ))
        }),
        None => Ok(Users::new(&config.requirepass)),
    }
}

fn listen(config: &Config) -> Result<Vec<TcpListener>, ServerError> {
    let mut port = config.port;
    let mut sockets = Vec::new();
    for &ip in &config.bind {
        let address = SocketAddr::new(ip, port);
        let listening = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX))?;
            let listener = std::net::TcpListener::from(socket);
            let port = listener.local_addr()?.port();
            Ok((TcpListener::from_std(listener), port))
        };
        let (socket, bound_port) = listening().map_err(|source| ServerError::Listen { address, source })?;
        // Port 0: all addresses share the one that the system chose for the first.
        port = bound_port;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn warn_if_protected(config: &Config, users: &Users, addresses: &[SocketAddr]) {
    let is_open = addresses.iter().any(|address| !address.ip().is_loopback());
    if is_open && users.default_user().is_open() {
        if config.protected_mode {
            tracing::warn!(
                "no password is set: clients from other machines will be refused (see protected-mode)"
            );
        } else {
            tracing::warn!(
                "no password is set and protected mode is off: anybody who reaches the port can do anything"
            );
        }
    }
}

/// The parts of a server before its threads run.
struct Assembly {
    shared: Arc<Shared>,
    polls: Vec<Poll>,
    signals: Vec<Arc<SyncSignal>>,
    admin_messages: Receiver<AdminMessage>,
    save_requests: Receiver<SaveRequest>,
}

impl Assembly {
    fn new(
        config: Config,
        users: Users,
        catalogue: Catalogue,
        clock: Clock,
        free_space: FreeSpace,
        port: u16,
    ) -> Result<Self, ServerError> {
        let shard_count = config.shard_count();
        let mut polls = Vec::with_capacity(shard_count);
        let mut shards = Vec::with_capacity(shard_count);
        for _ in 0..shard_count {
            let poll = Poll::new().map_err(ServerError::system("a poll"))?;
            let waker =
                Waker::new(poll.registry(), crate::shard::WAKER).map_err(ServerError::system("a waker"))?;
            shards.push(ShardHandle::new(waker));
            polls.push(poll);
        }
        let (admin, admin_messages) = channel();
        let (save_requester, save_requests) = channel();
        let run_id = format!("{:016x}{:016x}{:08x}", random_word()?, random_word()?, random_word()? as u32);
        let catalogue = Arc::new(catalogue);
        let parts = SharedParts {
            config,
            users,
            catalogue,
            clock,
            shards,
            admin,
            save_requests: save_requester,
            free_space,
            run_id,
            port,
        };
        let signals = (0..shard_count).map(|_| Arc::new(SyncSignal::default())).collect();
        Ok(Assembly { shared: Arc::new(Shared::new(parts)), polls, signals, admin_messages, save_requests })
    }

    /// Starts all threads; the one returned ends when they all have.
    fn run(
        self,
        sockets: Vec<TcpListener>,
        recovery: Recovery,
        file_streams: Vec<Declared>,
    ) -> Result<JoinHandle<Result<(), ServerError>>, ServerError> {
        let Assembly { shared, polls, signals, admin_messages, save_requests } = self;
        let cores = affinity::cores();
        let pins = shared.config().pin_shards && cores.len() >= polls.len();
        let mut sockets = Some(sockets);
        let mut shards = Vec::new();
        for (id, (poll, links)) in polls.into_iter().zip(Links::mesh(shared.shards.len())).enumerate() {
            let listeners = sockets
                .take()
                .map(|sockets| Listeners::register(sockets, poll.registry()))
                .transpose()
                .map_err(ServerError::system("events of a listening socket"))?;
            let parts = ShardParts { id, poll, links, listeners, sync: Arc::clone(&signals[id]) };
            let core = pins.then(|| cores[id]);
            let shared = Arc::clone(&shared);
            shards.push(spawn(format!("shard-{id}"), move || {
                if let Some(core) = core {
                    affinity::pin_to(core);
                }
                ShardLoop::new(shared, parts).run()
            })?);
        }
        let failure = Arc::new(Mutex::new(None));
        let admin = {
            let (shared, signals, failure) = (Arc::clone(&shared), signals.clone(), Arc::clone(&failure));
            spawn("admin".to_owned(), move || {
                let messages = (admin_messages, save_requests);
                let outcome = administer(&shared, recovery, file_streams, &signals, messages);
                outcome.unwrap_or_else(|error| {
                    if shared.ending.is_requested() {
                        // Asked to end while it was loading: nothing is lost, the log is as it was.
                        tracing::info!("loading was not finished: {error}");
                        return None;
                    }
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    shared.ending.request();
                    shared.wake_all();
                    None
                })
            })?
        };
        let threads = Threads { shards, admin, signals, failure };
        spawn("supervisor".to_owned(), move || supervise(&shared, threads))
    }
}

/// What the admin thread leaves behind.
struct Left {
    /// The directory, still locked.
    store: CatalogueStore,
    sync_threads: Vec<JoinHandle<LogSyncer>>,
    snapshot_thread: JoinHandle<()>,
}

/// The admin thread: loads, then changes the catalogue.
fn administer(
    shared: &Arc<Shared>,
    recovery: Recovery,
    file_streams: Vec<Declared>,
    signals: &[Arc<SyncSignal>],
    (messages, save_requests): (Receiver<AdminMessage>, Receiver<SaveRequest>),
) -> Result<Option<Left>, ServerError> {
    let loaded = loader::load(shared, recovery)?;
    let mut sync_threads = Vec::new();
    for (syncer, signal) in loaded.syncers.into_iter().zip(signals) {
        let (shared, signal) = (Arc::clone(shared), Arc::clone(signal));
        let name = format!("sync-{}", syncer.shard());
        sync_threads.push(spawn(name, move || sync_thread::run(&shared, &signal, syncer))?);
    }
    let directory: DataDir = loaded.directory;
    let backfiller = Backfiller::new(shared, directory.files().clone(), directory.manifest(), signals);
    let snapshot_thread = {
        let loans = Loans {
            readers: loaded.readers,
            participant: loaded.participant,
            hash_key: loaded.hash_key,
            epoch: directory.manifest().epoch,
            images: directory.images(),
            signals: signals.to_vec(),
        };
        let shared = Arc::clone(shared);
        spawn("snapshot".to_owned(), move || snapshot::run(&shared, &save_requests, loans))?
    };
    let mut admin = Admin::new(Arc::clone(shared), CatalogueStore::new(directory), messages);
    // The server may have ended in the midst of a change.
    admin.settle().map_err(ServerError::StreamOfFile)?;
    for declared in file_streams {
        admin.declare(declared).map_err(ServerError::StreamOfFile)?;
    }
    admin.bound_at_start().map_err(ServerError::StreamOfFile)?;
    // Data commands are served by all shards or by none.
    admin.wait_until_loaded();
    // While nobody makes memory of chunks: those on their way would count as what the start took.
    shared.measure_startup(loaded.populators.iter().map(Populator::committed_bytes).sum());
    {
        let (shared, populators) = (Arc::clone(shared), loaded.populators);
        spawn("populate".to_owned(), move || populate::run(&shared, populators))?;
    }
    {
        let (shared, adopters) = (Arc::clone(shared), loaded.adopters);
        spawn("adopt".to_owned(), move || adoption::run(&shared, &adopters))?;
    }
    shared.loading.finish();
    shared.wake_all();
    tracing::info!("ready to accept connections on port {}", shared.port);
    if loaded.is_redealt && shared.config().save_s > 0 && shared.saving.try_begin() {
        // So that the next start can link it. Until it is there, the one that was dealt serves as well.
        shared.saving.request(SaveRequest::Background);
    }
    let backfill = spawn("backfill".to_owned(), move || backfiller.run())?;
    let store = admin.run();
    // It ends when the server does.
    let _ = backfill.join();
    Ok(Some(Left { store, sync_threads, snapshot_thread }))
}

/// The threads of a server, for its end.
struct Threads {
    shards: Vec<JoinHandle<Option<ShardLog>>>,
    admin: JoinHandle<Option<Left>>,
    signals: Vec<Arc<SyncSignal>>,
    failure: Arc<Mutex<Option<ServerError>>>,
}

fn supervise(shared: &Arc<Shared>, threads: Threads) -> Result<(), ServerError> {
    let watching = Arc::new(AtomicBool::new(false));
    let watchdog = {
        let (shared, stop) = (Arc::clone(shared), Arc::clone(&watching));
        spawn("watchdog".to_owned(), move || watchdog::run(&shared, &stop))?
    };
    // A panic in a shard ends the process, so joining gives what the thread returned.
    let logs: Vec<Option<ShardLog>> =
        threads.shards.into_iter().filter_map(|shard| shard.join().ok()).collect();
    watching.store(true, Ordering::Release);
    watchdog.thread().unpark();
    let _ = watchdog.join();
    // The admin thread may be waiting for a message.
    let _ = shared.admin.send(AdminMessage::Stop);
    for signal in &threads.signals {
        signal.stop();
    }
    let left = threads.admin.join().ok().flatten();
    let mut outcome = Ok(());
    if let Some(Left { store, sync_threads, snapshot_thread }) = left {
        // It writes into the directory.
        let _ = snapshot_thread.join();
        let syncers = sync_threads.into_iter().filter_map(|thread| thread.join().ok());
        for (log, syncer) in logs.into_iter().zip(syncers) {
            if let Some(log) = log
                && let Err(error) = sync_for_good(log, syncer, shared.clock.now_ms())
            {
                outcome = Err(ServerError::Storage(error));
            }
        }
        drop(store);
    }
    if let Some(error) = threads.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    tracing::info!("the server has ended");
    outcome
}

/// Syncs a log and states on disk that it is synced.
fn sync_for_good(mut log: ShardLog, mut syncer: LogSyncer, now_ms: i64) -> Result<(), StorageError> {
    while log.state_durable(now_ms)? == Idle::Sync {
        syncer.sync()?;
    }
    Ok(())
}

/// Starts a thread; a panic in it ends the process, since the others cannot do without it.
fn spawn<T: Send + 'static>(
    name: String,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ServerError> {
    thread::Builder::new()
        .name(name)
        .spawn(move || abort_on_panic(body))
        .map_err(ServerError::system("a thread"))
}

/// A panic in `body` ends the process: what that thread was there for would never be done.
pub(crate) fn abort_on_panic<T>(body: impl FnOnce() -> T) -> T {
    let guard = AbortOnPanic;
    let outcome = body();
    std::mem::forget(guard);
    outcome
}

/// Dropped by a panic alone.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}
