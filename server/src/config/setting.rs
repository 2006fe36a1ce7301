//! The table of settings: the one definition of every name, default, range and explanation.

use std::net::IpAddr;
use std::path::PathBuf;

use windrow_window::duration;

use super::{
    AppendFsync, Config, IMAGES_KEPT_MAX, IMAGES_KEPT_MIN, MaxmemoryPolicy, SHARDS_MAX, SLOWLOG_LEN_MAX, size,
};

/// One setting: how it is named, explained, read and written as text.
pub struct Setting {
    /// Name of the flag (`--name`), the TOML key and the `CONFIG GET` parameter.
    pub name: &'static str,
    /// Placeholder in the help text.
    pub value_name: &'static str,
    /// What it does; stands in `--help` and in the example file.
    pub help: &'static str,
    /// Heading in the example file.
    pub section: &'static str,
    /// `CONFIG SET` may change it while the server runs.
    pub runtime: bool,
    /// How its value is written in TOML.
    pub kind: Kind,
    /// The present value as text.
    pub get: fn(&Config) -> String,
    /// Sets it from text; the error says what is expected.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
}

/// How a value is written in the TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare number.
    Number,
    /// A quoted string.
    Text,
    /// A list of quoted strings.
    List,
    /// `true` or `false`; `yes` and `no` elsewhere.
    Switch,
}

/// All settings, in the order of the example file.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "bind",
        value_name: "ADDR[,ADDR...]",
        help: "Addresses to listen on. Without a password, clients from other machines are refused (protected-mode).",
        section: "Network",
        runtime: false,
        kind: Kind::List,
        get: |c| c.bind.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "),
        set: |c, text| {
            c.bind = text
                .split([',', ' '])
                .filter(|part| !part.is_empty())
                .map(|part| match part {
                    "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
                    "*" => Ok(IpAddr::from([0, 0, 0, 0])),
                    _ => part.parse().map_err(|_| format!("'{part}' is not an IP address")),
                })
                .collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Setting {
        name: "port",
        value_name: "PORT",
        help: "TCP port; 0 lets the system choose one.",
        section: "Network",
        runtime: false,
        kind: Kind::Number,
        get: |c| c.port.to_string(),
        set: |c, text| number(text, 0, u64::from(u16::MAX)).map(|n| c.port = n as u16),
    },
    Setting {
        name: "protected-mode",
        value_name: "yes|no",
        help: "While no password is set, answer clients from other machines with -DENIED.",
        section: "Network",
        runtime: true,
        kind: Kind::Switch,
        get: |c| yes_no(c.protected_mode),
        set: |c, text| switch(text).map(|on| c.protected_mode = on),
    },
    Setting {
        name: "requirepass",
        value_name: "PASSWORD",
        help: "Password of the default user; empty: none is asked for. What an aclfile says of the default user comes first.",
        section: "Network",
        runtime: true,
        kind: Kind::Text,
        get: |c| c.requirepass.clone(),
        set: |c, text| {
            if text.len() > PASSWORD_BYTES_MAX {
                return Err(format!("longer than {PASSWORD_BYTES_MAX} bytes"));
            }
            c.requirepass = text.to_owned();
            Ok(())
        },
    },
    Setting {
        name: "aclfile",
        value_name: "FILE",
        help: "File of users, in Redis' format, that is read at start and by ACL LOAD and written by ACL SAVE; empty: none, and users made by ACL SETUSER end with the server.",
        section: "Network",
        runtime: false,
        kind: Kind::Text,
        get: |c| c.aclfile.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        set: |c, text| {
            c.aclfile = (!text.is_empty()).then(|| PathBuf::from(text));
            Ok(())
        },
    },
    Setting {
        name: "tcp-backlog",
        value_name: "N",
        help: "Connections that may wait to be accepted.",
        section: "Network",
        runtime: false,
        kind: Kind::Number,
        get: |c| c.tcp_backlog.to_string(),
        set: |c, text| number(text, 1, 65_535).map(|n| c.tcp_backlog = n as u32),
    },
    Setting {
        name: "tcp-keepalive",
        value_name: "SECONDS",
        help: "Probe an idle connection this often, so that dead peers are noticed; 0: never.",
        section: "Network",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.tcp_keepalive_s.to_string(),
        set: |c, text| number(text, 0, SECONDS_MAX).map(|n| c.tcp_keepalive_s = n),
    },
    Setting {
        name: "timeout",
        value_name: "SECONDS",
        help: "Close a client that sent nothing for this long; 0: never.",
        section: "Clients",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.timeout_s.to_string(),
        set: |c, text| number(text, 0, SECONDS_MAX).map(|n| c.timeout_s = n),
    },
    Setting {
        name: "maxclients",
        value_name: "N",
        help: "Most clients at once; one more is answered with an error and closed.",
        section: "Clients",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.maxclients.to_string(),
        set: |c, text| number(text, 1, 1_000_000).map(|n| c.maxclients = n as usize),
    },
    Setting {
        name: "client-query-buffer-limit",
        value_name: "BYTES",
        help: "Most bytes of one command; a client that sends a larger one is closed.",
        section: "Clients",
        runtime: true,
        kind: Kind::Text,
        get: |c| size::format(c.query_buffer_bytes_max),
        set: |c, text| bytes(text, 64 << 10, 1 << 30).map(|n| c.query_buffer_bytes_max = n),
    },
    Setting {
        name: "client-output-soft-limit",
        value_name: "BYTES",
        help: "A client with more unread replies than this is not read from until it has read some.",
        section: "Clients",
        runtime: true,
        kind: Kind::Text,
        get: |c| size::format(c.output_soft_bytes),
        set: |c, text| bytes(text, 64 << 10, 1 << 40).map(|n| c.output_soft_bytes = n),
    },
    Setting {
        name: "client-output-hard-limit",
        value_name: "BYTES",
        help: "A client with more unread replies than this is closed.",
        section: "Clients",
        runtime: true,
        kind: Kind::Text,
        get: |c| size::format(c.output_hard_bytes),
        set: |c, text| bytes(text, 64 << 10, 2 << 30).map(|n| c.output_hard_bytes = n),
    },
    Setting {
        name: "client-output-stall-timeout",
        value_name: "SECONDS",
        help: "A client past the soft limit that reads nothing for this long is closed.",
        section: "Clients",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.output_stall_s.to_string(),
        set: |c, text| number(text, 1, SECONDS_MAX).map(|n| c.output_stall_s = n),
    },
    Setting {
        name: "dir",
        value_name: "DIR",
        help: "Data directory: log, images and manifest. Made if it is not there; one server at a time.",
        section: "Data",
        runtime: false,
        kind: Kind::Text,
        get: |c| c.dir.display().to_string(),
        set: |c, text| {
            if text.is_empty() {
                return Err("a directory is needed".to_owned());
            }
            c.dir = PathBuf::from(text);
            Ok(())
        },
    },
    Setting {
        name: "appendfsync",
        value_name: "always|everysec|no",
        help: "When an acknowledged event is on disk: always (before the reply), everysec (within a second), no (when the kernel writes it).",
        section: "Data",
        runtime: true,
        kind: Kind::Text,
        get: |c| c.appendfsync.name().to_owned(),
        set: |c, text| {
            c.appendfsync = [AppendFsync::Always, AppendFsync::EverySec, AppendFsync::No]
                .into_iter()
                .find(|mode| mode.name().eq_ignore_ascii_case(text))
                .ok_or_else(|| format!("'{text}' is none of always, everysec, no"))?;
            Ok(())
        },
    },
    Setting {
        name: "log-segment-bytes",
        value_name: "BYTES",
        help: "Size of one preallocated log segment; each shard has at least two.",
        section: "Data",
        runtime: false,
        kind: Kind::Text,
        get: |c| size::format(c.log_segment_bytes),
        set: |c, text| bytes(text, 256 << 10, 4 << 30).map(|n| c.log_segment_bytes = n),
    },
    Setting {
        name: "save",
        value_name: "SECONDS",
        help: "Write an image of all records so long after the last one, if anything changed: a start reads it and the log behind it. 0: only for SAVE and BGSAVE.",
        section: "Data",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.save_s.to_string(),
        // `CONFIG SET save ""` turns it off in Redis.
        set: |c, text| number(if text.is_empty() { "0" } else { text }, 0, SECONDS_MAX).map(|n| c.save_s = n),
    },
    Setting {
        name: "save-operations",
        value_name: "N",
        help: "Write one earlier, after so many operations, where save is on; 0: however many.",
        section: "Data",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.save_operations.to_string(),
        set: |c, text| number(text, 0, u64::MAX).map(|n| c.save_operations = n),
    },
    Setting {
        name: "save-rate-limit",
        value_name: "BYTES",
        help: "Most bytes of an image that are written in a second; SAVE and SHUTDOWN, which are waited for, do not mind it. 0: no limit.",
        section: "Data",
        runtime: true,
        kind: Kind::Text,
        get: |c| size::format(c.save_rate_bytes),
        set: |c, text| match size::parse(text)? {
            0 => {
                c.save_rate_bytes = 0;
                Ok(())
            }
            _ => bytes(text, 1 << 20, 1 << 50).map(|n| c.save_rate_bytes = n),
        },
    },
    Setting {
        name: "images-kept",
        value_name: "N",
        help: "Newest images that are kept: where one is damaged, a start takes the one before.",
        section: "Data",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.images_kept.to_string(),
        set: |c, text| {
            number(text, IMAGES_KEPT_MIN as u64, IMAGES_KEPT_MAX as u64).map(|n| c.images_kept = n as usize)
        },
    },
    Setting {
        name: "log-retention",
        value_name: "DURATION",
        help: "Log is kept so long (24h, 7d; 0s: no longer than needed). Whatever this says, a start always has what it needs: the log since the second newest image.",
        section: "Data",
        runtime: true,
        kind: Kind::Text,
        get: |c| duration::format(c.log_retention_ms),
        set: |c, text| {
            c.log_retention_ms = duration::parse(text.as_bytes())
                .ok_or_else(|| format!("'{text}' is not a duration such as 90m, 24h or 7d"))?;
            Ok(())
        },
    },
    Setting {
        name: "log-retention-bytes",
        value_name: "BYTES",
        help: "Younger log than that goes too once the log is larger than this, oldest first; 0: no bound.",
        section: "Data",
        runtime: true,
        kind: Kind::Text,
        get: |c| size::format(c.log_retention_bytes),
        set: |c, text| bytes(text, 0, u64::MAX).map(|n| c.log_retention_bytes = n),
    },
    Setting {
        name: "log-max-bytes",
        value_name: "BYTES",
        help: "At this size of the log, when a start needs all of it, writes are refused with -MISCONF until an image sets some free; 0: no bound but the disk.",
        section: "Data",
        runtime: true,
        kind: Kind::Text,
        get: |c| size::format(c.log_max_bytes),
        set: |c, text| bytes(text, 0, u64::MAX).map(|n| c.log_max_bytes = n),
    },
    Setting {
        name: "streams",
        value_name: "FILE",
        help: "TOML file with stream definitions to have at start (see `windrow check`); empty: none.",
        section: "Data",
        runtime: false,
        kind: Kind::Text,
        get: |c| c.streams.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        set: |c, text| {
            c.streams = (!text.is_empty()).then(|| PathBuf::from(text));
            Ok(())
        },
    },
    Setting {
        name: "maxmemory",
        value_name: "BYTES",
        help: "Bound for entities, all shards together; maxmemory-policy says what happens there. 0: no bound.",
        section: "Resources",
        runtime: true,
        kind: Kind::Text,
        get: |c| size::format(c.maxmemory_bytes),
        set: |c, text| bytes(text, 0, u64::MAX).map(|n| c.maxmemory_bytes = n),
    },
    Setting {
        name: "maxmemory-policy",
        value_name: "noeviction|allkeys-lru",
        help: "At maxmemory: refuse what needs memory with -OOM, or remove the entities whose last event is longest ago. An event needs some for a new entity or bucket, and by its value alone where a sum of an INT field outgrows 16 or 32 bits.",
        section: "Resources",
        runtime: true,
        kind: Kind::Text,
        get: |c| c.maxmemory_policy.name().to_owned(),
        set: |c, text| {
            c.maxmemory_policy = [MaxmemoryPolicy::NoEviction, MaxmemoryPolicy::AllKeysLru]
                .into_iter()
                .find(|policy| policy.name().eq_ignore_ascii_case(text))
                .ok_or_else(|| format!("'{text}' is none of noeviction, allkeys-lru"))?;
            Ok(())
        },
    },
    Setting {
        name: "shards",
        value_name: "N",
        help: "Shard threads; 0: one per core. May differ from one start to the next.",
        section: "Resources",
        runtime: false,
        kind: Kind::Number,
        get: |c| c.shards.to_string(),
        set: |c, text| number(text, 0, SHARDS_MAX as u64).map(|n| c.shards = n as usize),
    },
    Setting {
        name: "pin-shards",
        value_name: "yes|no",
        help: "Pin each shard's thread to a core of its own, where there are enough cores.",
        section: "Resources",
        runtime: false,
        kind: Kind::Switch,
        get: |c| yes_no(c.pin_shards),
        set: |c, text| switch(text).map(|on| c.pin_shards = on),
    },
    Setting {
        name: "loglevel",
        value_name: "debug|verbose|notice|warning|nothing",
        help: "Lowest level that is written to standard error.",
        section: "Watching",
        runtime: true,
        kind: Kind::Text,
        get: |c| c.loglevel.clone(),
        set: |c, text| {
            let lower = text.to_ascii_lowercase();
            if !LOGLEVELS.contains(&lower.as_str()) {
                return Err(format!("'{text}' is none of {}", LOGLEVELS.join(", ")));
            }
            c.loglevel = lower;
            Ok(())
        },
    },
    Setting {
        name: "slowlog-log-slower-than",
        value_name: "MICROSECONDS",
        help: "Keep commands that take at least so long for SLOWLOG GET; 0: every command, -1: none. Below 1000, commands are executed one by one, so that each can be timed, which costs throughput.",
        section: "Watching",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.slowlog_slower_than_us.to_string(),
        set: |c, text| match text.trim() {
            "-1" => {
                c.slowlog_slower_than_us = -1;
                Ok(())
            }
            text => match number(text, 0, SECONDS_MAX * 1_000_000) {
                Ok(us) => {
                    c.slowlog_slower_than_us = us as i64;
                    Ok(())
                }
                Err(reason) => Err(format!("{reason}, nor -1")),
            },
        },
    },
    Setting {
        name: "slowlog-max-len",
        value_name: "N",
        help: "Entries of SLOWLOG at most, the newest; they take 16 MB at most.",
        section: "Watching",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.slowlog_len_max.to_string(),
        set: |c, text| number(text, 0, SLOWLOG_LEN_MAX as u64).map(|n| c.slowlog_len_max = n as usize),
    },
    Setting {
        name: "latency-monitor-threshold",
        value_name: "MILLISECONDS",
        help: "Keep what takes at least so long (commands, ticks, syncs of the log, images) for LATENCY; 0: off.",
        section: "Watching",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.latency_threshold_ms.to_string(),
        set: |c, text| number(text, 0, SECONDS_MAX * 1000).map(|n| c.latency_threshold_ms = n),
    },
    Setting {
        name: "watchdog-period",
        value_name: "MILLISECONDS",
        help: "Report a shard whose tick takes longer than this; 0: off.",
        section: "Watching",
        runtime: true,
        kind: Kind::Number,
        get: |c| c.watchdog_ms.to_string(),
        set: |c, text| number(text, 0, SECONDS_MAX * 1000).map(|n| c.watchdog_ms = n),
    },
];

/// Parameters that Redis clients and tools ask for and that have one answer here.
pub(crate) static FIXED: &[(&str, &str)] = &[
    ("appendonly", "yes"),
    ("databases", "1"),
    ("proto-max-bulk-len", "536870912"),
    ("io-threads", "1"),
    ("daemonize", "no"),
    ("cluster-enabled", "no"),
];

const LOGLEVELS: [&str; 5] = ["debug", "verbose", "notice", "warning", "nothing"];
/// Longest password that a setting gives.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1_024;
const SECONDS_MAX: u64 = 10 * 365 * 86_400;

/// The setting of this name; case does not matter, `_` reads as `-`.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    SETTINGS.iter().find(|setting| setting.name == name)
}

fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    match text.trim().parse::<u64>() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(format!("'{text}' is not a whole number from {min} to {max}")),
    }
}

fn bytes(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let n = size::parse(text)?;
    if (min..=max).contains(&n) {
        Ok(n)
    } else {
        Err(format!("'{text}' is not between {} and {}", size::format(min), size::format(max)))
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" => Ok(true),
        "no" | "false" | "off" => Ok(false),
        _ => Err(format!("'{text}' is neither yes nor no")),
    }
}

fn yes_no(on: bool) -> String {
    if on { "yes" } else { "no" }.to_owned()
}
