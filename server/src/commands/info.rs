//! INFO: sections of `name:value` lines, as Redis' tools read them.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use windrow_protocol::reply;
use windrow_storage::LogFiles;

use super::connection::REDIS_VERSION;
use super::memory::{MemoryReport, resident_bytes};
use super::{Call, Flow, is};
use crate::acl::Reason;
use crate::clock::uptime_ms;
use crate::config::size;
use crate::shard::{PHASES, ShardHandle};
use crate::shared::Shared;

type Section = (&'static str, fn(&Call<'_>, &mut String));

/// Sections in the order of the reply.
const SECTIONS: [Section; 7] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Shards", shards),
    ("Keyspace", keyspace),
];

/// Sections that Redis has and that would say nothing here are asked for all the same.
const EVERYTHING: [&str; 3] = ["all", "default", "everything"];

/// `INFO [section ...]`
pub(super) fn info(call: &mut Call<'_>) -> Flow {
    let wanted = call.request.skip(1);
    let wants = |name: &str| {
        wanted.is_empty()
            || wanted.iter().any(|arg| is(arg, name) || EVERYTHING.iter().any(|all| is(arg, all)))
    };
    let mut text = String::new();
    for (name, write) in SECTIONS {
        if wants(name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let _ = write!(text, "# {name}\r\n");
            write(call, &mut text);
        }
    }
    let proto = call.session.proto;
    reply::verbatim(call.out(), proto, *b"txt", text.as_bytes());
    Flow::Done
}

/// Adds `name:value` lines.
macro_rules! lines {
    ($text:expr, $($name:literal => $value:expr),+ $(,)?) => {
        $(let _ = write!($text, "{}:{}\r\n", $name, $value);)+
    };
}

fn sum(shared: &Shared, number: impl Fn(&ShardHandle) -> u64) -> u64 {
    shared.shards.iter().map(number).sum()
}

fn server(call: &Call<'_>, text: &mut String) {
    let shared = call.shared();
    lines!(text,
        "redis_version" => REDIS_VERSION,
        "windrow_version" => env!("CARGO_PKG_VERSION"),
        "redis_mode" => "standalone",
        "os" => std::env::consts::OS,
        "arch_bits" => usize::BITS,
        "process_id" => std::process::id(),
        "run_id" => shared.run_id,
        "tcp_port" => shared.port,
        "server_time_usec" => shared.clock.now_ms() * 1000,
        "uptime_in_seconds" => uptime_ms() / 1000,
        "uptime_in_days" => uptime_ms() / 86_400_000,
        "shards" => shared.shards.len(),
    );
}

fn clients(call: &Call<'_>, text: &mut String) {
    let shared = call.shared();
    lines!(text,
        "connected_clients" => shared.clients.len(),
        "maxclients" => call.core.config.maxclients,
        "blocked_clients" => 0,
    );
}

fn memory(call: &Call<'_>, text: &mut String) {
    let shared = call.shared();
    let config = &call.core.config;
    let report = MemoryReport::now(shared);
    let (used, rss) = (report.total_bytes(), resident_bytes());
    let peak = shared.peak_bytes.load(Relaxed);
    lines!(text,
        "used_memory" => used,
        "used_memory_human" => size::human(used),
        "used_memory_rss" => rss,
        "used_memory_rss_human" => size::human(rss),
        "used_memory_peak" => peak,
        "used_memory_peak_human" => size::human(peak),
        "used_memory_startup" => report.startup_bytes,
        "used_memory_dataset" => report.records.taken_bytes,
        "used_memory_dedup" => report.records.dedup_bytes,
        "dedup_ids" => report.records.dedup_ids,
        "dedup_sources" => report.records.dedup_sources,
        "mem_clients_normal" => report.client_bytes,
        "mem_fragmentation_ratio" => format_args!("{:.2}", rss as f64 / used.max(1) as f64),
        "maxmemory" => config.maxmemory_bytes,
        "maxmemory_human" => size::human(config.maxmemory_bytes),
        "maxmemory_policy" => config.maxmemory_policy.name(),
    );
}

fn persistence(call: &Call<'_>, text: &mut String) {
    let shared = call.shared();
    let progress = shared.loading.progress();
    let written = sum(shared, |shard| shard.numbers.log_written.load(Relaxed));
    let durable = sum(shared, |shard| shard.numbers.log_durable.load(Relaxed));
    lines!(text,
        "loading" => u8::from(!shared.loading.is_finished()),
        "loading_loaded_perc" => if shared.loading.is_finished() { 100 } else { progress.percent },
        "loading_loaded_bytes" => progress.done_bytes,
        "loading_total_bytes" => progress.total_bytes,
        "loading_loaded_ops" => progress.operations,
        "aof_enabled" => 1,
        "appendfsync" => call.core.config.appendfsync.name(),
        "aof_last_write_status" => if shared.log_failure().is_none() { "ok" } else { "err" },
        "log_written_ops" => written,
        "log_durable_ops" => durable,
        "log_bytes" => shared.log_files().map_or(0, LogFiles::bytes),
        "log_segments" => shared.log_files().map_or(0, LogFiles::segments),
    );
    images(call, text);
    if let Some(reason) = shared.log_failure() {
        lines!(text, "log_failure" => reason.replace(['\r', '\n'], " "));
    }
}

/// Images, by the names that Redis has for its snapshots, and by our own.
fn images(call: &Call<'_>, text: &mut String) {
    let shared = call.shared();
    let saving = &shared.saving;
    let (known, progress) = (saving.known(), &saving.progress);
    let newest = known.newest;
    let running_ms = saving.is_running().then(|| progress.running_ms());
    let percent = if running_ms.is_some() { progress.percent() } else { 0 };
    let (records, expected) = match running_ms {
        Some(_) => (progress.records.load(Relaxed), progress.records_expected.load(Relaxed)),
        None => (0, 0),
    };
    let seconds = |ms: Option<u64>| ms.map_or(-1, |ms| (ms / 1000) as i64);
    lines!(text,
        "rdb_changes_since_last_save" => shared.unsaved_changes(),
        "rdb_bgsave_in_progress" => u8::from(running_ms.is_some()),
        "rdb_last_save_time" => newest.map_or(0, |image| image.created_ms / 1000),
        "rdb_last_bgsave_status" => if known.failure.is_none() { "ok" } else { "err" },
        "rdb_last_bgsave_time_sec" => seconds(known.took_ms),
        "rdb_current_bgsave_time_sec" => seconds(running_ms),
        "rdb_saves" => known.written,
        "current_save_keys_processed" => records,
        "current_save_keys_total" => expected,
        "current_save_perc" => percent,
        "images" => known.images,
        "image_number" => newest.map_or(0, |image| image.number),
        "image_bytes" => newest.map_or(0, |image| image.bytes),
        "image_records" => newest.map_or(0, |image| image.records),
        "image_chunks_pending" => shared.chunks_pending(),
    );
    if let Some(reason) = known.failure {
        lines!(text, "image_failure" => reason.replace(['\r', '\n'], " "));
    }
}

fn stats(call: &Call<'_>, text: &mut String) {
    let shared = call.shared();
    lines!(text,
        "total_connections_received" => shared.total_connections.load(Relaxed),
        "rejected_connections" => shared.rejected_connections.load(Relaxed),
        "total_commands_processed" => sum(shared, |shard| shard.numbers.commands.load(Relaxed)),
        "total_net_input_bytes" => sum(shared, |shard| shard.numbers.input_bytes.load(Relaxed)),
        "total_net_output_bytes" => sum(shared, |shard| shard.numbers.output_bytes.load(Relaxed)),
        "total_error_replies" => sum(shared, |shard| shard.numbers.errors.load(Relaxed)),
        "client_output_buffer_limit_disconnections" => sum(shared, |shard| shard.numbers.slow_clients_closed.load(Relaxed)),
        "evicted_keys" => sum(shared, |shard| shard.numbers.evicted.load(Relaxed)),
        "total_events" => sum(shared, |shard| shard.numbers.events.load(Relaxed)),
        "total_reads" => sum(shared, |shard| shard.numbers.reads.load(Relaxed)),
        "acl_access_denied_auth" => shared.acl.log.count(Reason::Auth),
        "acl_access_denied_cmd" => shared.acl.log.count(Reason::Command),
        "acl_access_denied_key" => shared.acl.log.count(Reason::Key),
        "total_hops" => sum(shared, |shard| shard.numbers.hops.load(Relaxed)),
    );
}

fn shards(call: &Call<'_>, text: &mut String) {
    for (index, shard) in call.shared().shards.iter().enumerate() {
        let numbers = &shard.numbers;
        let _ = write!(
            text,
            "shard{index}:connections={},entities={},memory={},commands={},ticks={},tick_us_max={},tick_cpu_us_max={},slow_ticks={},slow_ticks_on_cpu={}\r\n",
            numbers.connections.load(Relaxed),
            numbers.entities.load(Relaxed),
            numbers.memory.taken_bytes.load(Relaxed),
            numbers.commands.load(Relaxed),
            numbers.ticks.load(Relaxed),
            numbers.longest_tick.us.load(Relaxed),
            numbers.longest_tick.cpu_us.load(Relaxed),
            numbers.longest_tick.slow_ticks.load(Relaxed),
            numbers.longest_tick.slow_on_cpu.load(Relaxed),
        );
        let longest = &numbers.longest_tick;
        let _ = write!(
            text,
            "shard{index}_longest_tick:us={},us_on_cpu={}",
            longest.us.load(Relaxed),
            longest.us_on_cpu.load(Relaxed),
        );
        for (phase, us) in PHASES.iter().zip(&longest.phases_us) {
            let _ = write!(text, ",{phase}={}", us.load(Relaxed));
        }
        text.push_str("\r\n");
    }
}

fn keyspace(call: &Call<'_>, text: &mut String) {
    let entities = sum(call.shared(), |shard| shard.numbers.entities.load(Relaxed));
    if entities > 0 {
        let _ = write!(text, "db0:keys={entities},expires=0,avg_ttl=0\r\n");
    }
    lines!(text, "streams" => call.core.catalogue.len());
}
