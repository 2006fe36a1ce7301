//! Configuration: one table of settings ([`SETTINGS`]) serves the command line, the TOML file, `CONFIG GET`/`SET` and
//! the commented example file.

mod example;
mod file;
mod flags;
mod setting;
pub(crate) mod size;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use windrow_memory::STORE_BYTES_MIN;
use windrow_storage::Retention;
use windrow_window::duration::DAY_MS;

pub use example::example_toml;
pub use flags::{arguments, from_matches};
pub(crate) use setting::{FIXED, PASSWORD_BYTES_MAX};
pub use setting::{SETTINGS, Setting};
pub use windrow_durability::AppendFsync;

/// What happens when `maxmemory` is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxmemoryPolicy {
    /// Events that need memory are refused.
    NoEviction,
    /// The entities whose last event is longest ago are removed.
    AllKeysLru,
}

impl MaxmemoryPolicy {
    /// The name in configuration and INFO.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MaxmemoryPolicy::NoEviction => "noeviction",
            MaxmemoryPolicy::AllKeysLru => "allkeys-lru",
        }
    }
}

/// Everything that can be set. Names, defaults and meaning stand in [`SETTINGS`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// TCP port; 0 lets the system choose.
    pub port: u16,
    /// Refuse clients from other machines while no password is set.
    pub protected_mode: bool,
    /// Password of the default user; empty: none.
    pub requirepass: String,
    /// File of users that ACL LOAD and SAVE are about.
    pub aclfile: Option<PathBuf>,
    /// Data directory.
    pub dir: PathBuf,
    /// When write replies leave.
    pub appendfsync: AppendFsync,
    /// Log nothing, to measure what the log costs.
    pub is_unlogged: bool,
    /// Size of one log segment.
    pub log_segment_bytes: u64,
    /// An image is due so long after the one before, if anything changed; 0: never.
    pub save_s: u64,
    /// And after so many operations; 0: however many.
    pub save_operations: u64,
    /// Most bytes a second of an image that nobody waits for; 0: no bound.
    pub save_rate_bytes: u64,
    /// The newest so many images are kept.
    pub images_kept: usize,
    /// Log that no start needs is kept so long.
    pub log_retention_ms: i64,
    /// And no more of it than this; 0: no bound.
    pub log_retention_bytes: u64,
    /// Writes are refused while the log has this size and nothing of it may go; 0: no bound.
    pub log_max_bytes: u64,
    /// Bound for records of all shards together; 0: none.
    pub maxmemory_bytes: u64,
    /// What happens there.
    pub maxmemory_policy: MaxmemoryPolicy,
    /// Shard threads; 0: one per core.
    pub shards: usize,
    /// Pin each shard's thread to a core of its own.
    pub pin_shards: bool,
    /// File with stream definitions.
    pub streams: Option<PathBuf>,
    /// Most clients at once.
    pub maxclients: usize,
    /// Close a client that was idle this long; 0: never.
    pub timeout_s: u64,
    /// TCP keep-alive interval; 0: off.
    pub tcp_keepalive_s: u64,
    /// Backlog of the listening socket.
    pub tcp_backlog: u32,
    /// Most bytes of one client's unparsed input.
    pub query_buffer_bytes_max: u64,
    /// Past this, a client is not read from until it reads its replies.
    pub output_soft_bytes: u64,
    /// Past this, a client is disconnected.
    pub output_hard_bytes: u64,
    /// A client past the soft bound that reads nothing for this long is disconnected.
    pub output_stall_s: u64,
    /// Lowest level that is logged.
    pub loglevel: String,
    /// Commands that take so long are kept for SLOWLOG; 0: all, -1: none.
    pub slowlog_slower_than_us: i64,
    /// So many of them.
    pub slowlog_len_max: usize,
    /// What takes so long is kept for LATENCY; 0: nothing.
    pub latency_threshold_ms: u64,
    /// A tick that takes longer is reported.
    pub watchdog_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            port: 7379,
            protected_mode: true,
            requirepass: String::new(),
            aclfile: None,
            dir: PathBuf::from("windrow-data"),
            appendfsync: AppendFsync::EverySec,
            is_unlogged: false,
            log_segment_bytes: 64 << 20,
            save_s: 300,
            save_operations: 20_000_000,
            save_rate_bytes: 128 << 20,
            images_kept: IMAGES_KEPT_MIN,
            log_retention_ms: DAY_MS,
            log_retention_bytes: 0,
            log_max_bytes: 0,
            maxmemory_bytes: 0,
            maxmemory_policy: MaxmemoryPolicy::NoEviction,
            shards: 0,
            pin_shards: true,
            streams: None,
            maxclients: 10_000,
            timeout_s: 0,
            tcp_keepalive_s: 300,
            tcp_backlog: 511,
            query_buffer_bytes_max: 64 << 20,
            output_soft_bytes: 64 << 20,
            output_hard_bytes: 256 << 20,
            output_stall_s: 60,
            loglevel: "notice".to_owned(),
            slowlog_slower_than_us: 10_000,
            slowlog_len_max: 128,
            latency_threshold_ms: 0,
            watchdog_ms: 2_000,
        }
    }
}

impl Config {
    /// The number of shard threads this configuration asks for on this machine.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.shards == 0 { cores.min(SHARDS_MAX) } else { self.shards }
    }

    /// Sets one setting by name from text. The error names the setting and says what it takes.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let setting = setting::find(name).ok_or_else(|| format!("there is no setting '{name}'"))?;
        (setting.set)(self, text).map_err(|reason| format!("{}: {reason}", setting.name))
    }

    /// Reads settings from a TOML file over the present values.
    pub fn load_file(&mut self, path: &std::path::Path) -> Result<(), String> {
        file::load(self, path)
    }

    /// Which log is kept beyond what a start needs.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention {
            keep_ms: self.log_retention_ms.unsigned_abs(),
            keep_bytes: self.log_retention_bytes,
            max_bytes: self.log_max_bytes,
        }
    }

    /// What the settings must fulfil together.
    pub fn validate(&self) -> Result<(), String> {
        if self.bind.is_empty() {
            return Err("bind: at least one address is needed".to_owned());
        }
        if self.requirepass.len() > PASSWORD_BYTES_MAX {
            return Err(format!(
                "requirepass has {} bytes: give at most {PASSWORD_BYTES_MAX}",
                self.requirepass.len()
            ));
        }
        if self.output_soft_bytes > self.output_hard_bytes {
            return Err(format!(
                "client-output-soft-limit ({}) is above client-output-hard-limit ({})",
                size::format(self.output_soft_bytes),
                size::format(self.output_hard_bytes)
            ));
        }
        let least_log_bytes = LOG_SEGMENTS_MIN * self.log_segment_bytes * self.shard_count() as u64;
        if self.log_max_bytes > 0 && self.log_max_bytes < least_log_bytes {
            return Err(format!(
                "log-max-bytes ({}) is too little for {} shards with log-segment-bytes {}: give at least {}, or 0 for no limit",
                size::format(self.log_max_bytes),
                self.shard_count(),
                size::format(self.log_segment_bytes),
                size::format(least_log_bytes)
            ));
        }
        let least_bytes = (STORE_BYTES_MIN * self.shard_count()) as u64;
        if self.maxmemory_bytes > 0 && self.maxmemory_bytes < least_bytes {
            return Err(format!(
                "maxmemory ({}) is too little for {} shards: give at least {}, or 0 for no limit",
                size::format(self.maxmemory_bytes),
                self.shard_count(),
                size::format(least_bytes)
            ));
        }
        Ok(())
    }
}

/// A damaged image falls back to the one before, so there are two.
pub const IMAGES_KEPT_MIN: usize = 2;
/// Most images that are kept.
pub const IMAGES_KEPT_MAX: usize = 64;
/// Segments of a shard that `log-max-bytes` leaves room for: one in use, a spare, and what two images hold.
const LOG_SEGMENTS_MIN: u64 = 4;
/// Most entries of SLOWLOG; their memory has a bound of its own.
pub const SLOWLOG_LEN_MAX: usize = 1_000_000;
/// Most shard threads: each pair of shards has rings, so memory for them grows with the square.
pub const SHARDS_MAX: usize = 64;
