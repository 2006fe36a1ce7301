//! What the whole process knows of each client: for CLIENT LIST, CLIENT KILL and `maxclients`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windrow_protocol::command::CommandId;

use super::ConnectionId;
use crate::acl::DEFAULT_USER;
use crate::clock::uptime_ms;

/// One client, as other shards may see it. Written by its own shard, mostly once a tick.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) shard: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) since_ms: u64,
    /// Where its shard keeps it; known once the shard has taken it.
    place: AtomicU64,
    last_active_ms: AtomicU64,
    query_bytes: AtomicUsize,
    output_bytes: AtomicUsize,
    memory_bytes: AtomicUsize,
    commands: AtomicU64,
    last_command: AtomicU8,
    resp: AtomicU8,
    no_evict: AtomicBool,
    is_killed: AtomicBool,
    labels: Mutex<Labels>,
}

#[derive(Clone, Debug, Default)]
struct Labels {
    user: String,
    name: String,
    lib_name: String,
    lib_version: String,
}

/// What a shard reports of a client after a tick in which it was active.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activity {
    pub(crate) at_ms: u64,
    pub(crate) query_bytes: usize,
    pub(crate) output_bytes: usize,
    pub(crate) memory_bytes: usize,
    pub(crate) commands: u64,
    pub(crate) last_command: Option<CommandId>,
}

const NO_COMMAND: u8 = u8::MAX;
const PLACE_UNKNOWN: u64 = u64::MAX;

impl Client {
    pub(crate) fn set_place(&self, id: ConnectionId) {
        self.place.store(u64::from(id.index) << 32 | u64::from(id.generation), Relaxed);
    }

    /// Marks it as killed; true the first time. So its shard gets one message, however often it is killed.
    pub(crate) fn kill(&self) -> bool {
        !self.is_killed.swap(true, Relaxed)
    }

    pub(crate) fn place(&self) -> Option<ConnectionId> {
        let place = self.place.load(Relaxed);
        (place != PLACE_UNKNOWN)
            .then_some(ConnectionId { index: (place >> 32) as u32, generation: place as u32 })
    }

    pub(crate) fn report(&self, activity: Activity) {
        self.last_active_ms.store(activity.at_ms, Relaxed);
        self.query_bytes.store(activity.query_bytes, Relaxed);
        self.output_bytes.store(activity.output_bytes, Relaxed);
        self.memory_bytes.store(activity.memory_bytes, Relaxed);
        self.commands.store(activity.commands, Relaxed);
        self.last_command.store(activity.last_command.map_or(NO_COMMAND, |id| id as u8), Relaxed);
    }

    /// Bytes held for it, as last reported.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Relaxed)
    }

    pub(crate) fn set_resp(&self, version: u8) {
        self.resp.store(version, Relaxed);
    }

    pub(crate) fn set_no_evict(&self, on: bool) {
        self.no_evict.store(on, Relaxed);
    }

    pub(crate) fn name(&self) -> String {
        self.labels().name.clone()
    }

    /// The user that it speaks for.
    pub(crate) fn user(&self) -> String {
        self.labels().user.clone()
    }

    pub(crate) fn set_user(&self, user: &str) {
        user.clone_into(&mut self.labels().user);
    }

    pub(crate) fn set_name(&self, name: &str) {
        name.clone_into(&mut self.labels().name);
    }

    pub(crate) fn set_library(&self, name: Option<&str>, version: Option<&str>) {
        let mut labels = self.labels();
        if let Some(name) = name {
            name.clone_into(&mut labels.lib_name);
        }
        if let Some(version) = version {
            version.clone_into(&mut labels.lib_version);
        }
    }

    fn labels(&self) -> MutexGuard<'_, Labels> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the connection began.
    pub(crate) fn age_s(&self) -> u64 {
        uptime_ms().saturating_sub(self.since_ms) / 1000
    }

    /// The line of CLIENT LIST, without its end.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        self.write_line(&mut line);
        line
    }

    /// Appends the line of CLIENT LIST, without its end; fields and their order as Redis 7.
    pub(crate) fn write_line(&self, out: &mut String) {
        let labels = self.labels().clone();
        let flags = if self.no_evict.load(Relaxed) { "e" } else { "N" };
        let idle_s = uptime_ms().saturating_sub(self.last_active_ms.load(Relaxed)) / 1000;
        let command = match self.last_command.load(Relaxed) {
            NO_COMMAND => "NULL",
            id => windrow_protocol::command::COMMANDS.get(usize::from(id)).map_or("NULL", |row| row.name),
        };
        let _ = write!(
            out,
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={idle_s} flags={flags} db=0 sub=0 psub=0 ssub=0 multi=-1 \
             qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 obl=0 oll=0 omem={} tot-mem={} events=r cmd={command} user={} \
             redir=-1 resp={} lib-name={} lib-ver={} shard={} tot-cmds={}",
            self.id,
            self.peer,
            self.local,
            labels.name,
            self.age_s(),
            self.query_bytes.load(Relaxed),
            self.output_bytes.load(Relaxed),
            self.memory_bytes.load(Relaxed),
            labels.user,
            self.resp.load(Relaxed),
            labels.lib_name,
            labels.lib_version,
            self.shard,
            self.commands.load(Relaxed),
        );
    }
}

/// All clients of the process, by id.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    by_id: Mutex<BTreeMap<u64, Arc<Client>>>,
    next_id: AtomicU64,
}

impl Clients {
    /// Registers a new client unless there are `limit` already.
    pub(crate) fn add(
        &self,
        shard: usize,
        peer: SocketAddr,
        local: SocketAddr,
        limit: usize,
    ) -> Option<Arc<Client>> {
        let mut by_id = self.lock();
        if by_id.len() >= limit {
            return None;
        }
        let now_ms = uptime_ms();
        let client = Arc::new(Client {
            id: self.next_id.fetch_add(1, Relaxed) + 1,
            shard,
            peer,
            local,
            since_ms: now_ms,
            place: AtomicU64::new(PLACE_UNKNOWN),
            last_active_ms: AtomicU64::new(now_ms),
            query_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            memory_bytes: AtomicUsize::new(0),
            commands: AtomicU64::new(0),
            last_command: AtomicU8::new(NO_COMMAND),
            resp: AtomicU8::new(2),
            no_evict: AtomicBool::new(false),
            is_killed: AtomicBool::new(false),
            labels: Mutex::new(Labels { user: DEFAULT_USER.to_owned(), ..Labels::default() }),
        });
        by_id.insert(client.id, Arc::clone(&client));
        Some(client)
    }

    pub(crate) fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// All clients now, by id.
    pub(crate) fn snapshot(&self) -> Vec<Arc<Client>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
