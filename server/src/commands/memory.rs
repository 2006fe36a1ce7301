//! MEMORY USAGE and STATS: what the memory is used for. Also the numbers of INFO memory.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use windrow_engine::{Catalogue, Stream, StreamUsage};
use windrow_protocol::command::SubcommandId;
use windrow_protocol::{Proto, reply};

use super::gathering::Subject;
use super::{Call, Flow, is, no_such_stream};
use crate::shard::MemoryNumbers;
use crate::shared::Shared;

/// `MEMORY USAGE|STATS`
pub(super) fn memory(call: &mut Call<'_>) -> Flow {
    match call.subcommand {
        Some(SubcommandId::MemoryStats) => stats(call),
        Some(SubcommandId::MemoryUsage) => usage(call),
        Some(other) => unreachable!("{other:?} is no subcommand of MEMORY"),
        None => unreachable!("MEMORY has a subcommand"),
    }
}

/// `MEMORY USAGE <entity> [stream] [SAMPLES count]`
fn usage(call: &mut Call<'_>) -> Flow {
    let request = call.request;
    let (entity, operands) = (request.at(2), request.skip(3));
    let catalogue = Arc::clone(&call.core.catalogue);
    // Redis looks at a sample of a key's elements; a record is one piece of memory.
    let has_samples = operands.len() >= 2 && is(operands.at(operands.len() - 2), "SAMPLES");
    let streams: Vec<&Arc<Stream>> = match operands.len() - if has_samples { 2 } else { 0 } {
        0 => catalogue.iter().collect(),
        1 => match catalogue.stream(operands.at(0)) {
            Some(stream) => vec![stream],
            None => return call.error(format_args!("ERR {}", no_such_stream(operands.at(0)))),
        },
        _ => return call.syntax_error(),
    };
    let mut bytes = None;
    for stream in streams {
        match call.core.record_bytes(stream.id, entity) {
            Ok(found) => bytes = found.map(|found| found + bytes.unwrap_or(0)).or(bytes),
            Err(_) => {
                return call.error(format_args!("TRYAGAIN the record was written all the while it was read"));
            }
        }
    }
    let proto = call.session.proto;
    match bytes {
        Some(bytes) => reply::integer(call.out(), bytes as i64),
        None => reply::null(call.out(), proto),
    }
    Flow::Done
}

/// `MEMORY STATS`
fn stats(call: &mut Call<'_>) -> Flow {
    let own = call.core.engine.as_ref().map(|engine| engine.stream_usage().collect()).unwrap_or_default();
    call.core.publish_engine();
    super::gathering::begin(call, Subject::Memory(own))
}

/// What the process takes, by purpose.
pub(crate) struct MemoryReport {
    /// Of all shards.
    pub(crate) records: MemoryNumbersNow,
    /// What the process took before it served the first client.
    pub(crate) startup_bytes: u64,
    /// Buffers of clients.
    pub(crate) client_bytes: u64,
    /// What SLOWLOG keeps.
    pub(crate) slowlog_bytes: u64,
    /// Records.
    pub(crate) entities: u64,
}

/// The memory numbers of all shards together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemoryNumbersNow {
    pub(crate) committed_bytes: u64,
    pub(crate) taken_bytes: u64,
    pub(crate) pool_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) retired_slots: u64,
    pub(crate) buffer_bytes: u64,
    pub(crate) dedup_bytes: u64,
    pub(crate) dedup_ids: u64,
    pub(crate) dedup_sources: u64,
}

impl MemoryReport {
    pub(crate) fn now(shared: &Shared) -> Self {
        let sum = |number: fn(&MemoryNumbers) -> u64| -> u64 {
            shared.shards.iter().map(|shard| number(&shard.numbers.memory)).sum()
        };
        let report = MemoryReport {
            records: MemoryNumbersNow {
                committed_bytes: sum(|memory| memory.committed_bytes.load(Relaxed)),
                taken_bytes: sum(|memory| memory.taken_bytes.load(Relaxed)),
                pool_bytes: sum(|memory| memory.pool_bytes.load(Relaxed)),
                index_bytes: sum(|memory| memory.index_bytes.load(Relaxed)),
                retired_slots: sum(|memory| memory.retired_slots.load(Relaxed)),
                buffer_bytes: sum(|memory| memory.buffer_bytes.load(Relaxed)),
                dedup_bytes: sum(|memory| memory.dedup_bytes.load(Relaxed)),
                dedup_ids: sum(|memory| memory.dedup_ids.load(Relaxed)),
                dedup_sources: sum(|memory| memory.dedup_sources.load(Relaxed)),
            },
            startup_bytes: shared.startup_bytes.load(Relaxed),
            client_bytes: shared.clients.snapshot().iter().map(|client| client.memory_bytes() as u64).sum(),
            slowlog_bytes: shared.slowlog.held_bytes() as u64,
            entities: shared.shards.iter().map(|shard| shard.numbers.entities.load(Relaxed)).sum(),
        };
        shared.peak_bytes.fetch_max(report.total_bytes(), Relaxed);
        report
    }

    /// Everything.
    pub(crate) fn total_bytes(&self) -> u64 {
        let records = &self.records;
        let data_bytes = records.committed_bytes + records.dedup_bytes;
        self.startup_bytes + self.client_bytes + self.slowlog_bytes + data_bytes + records.buffer_bytes
    }

    /// What is not the dataset.
    pub(crate) fn overhead_bytes(&self, dataset_bytes: u64) -> u64 {
        self.total_bytes().saturating_sub(dataset_bytes)
    }
}

/// Resident memory of the process, 0 where /proc does not say.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages =
        statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Writes the reply of MEMORY STATS: a map, with Redis' names where it has the same thing.
pub(super) fn write_stats(
    out: &mut Vec<u8>,
    proto: Proto,
    shared: &Shared,
    catalogue: &Catalogue,
    usage: &[StreamUsage],
) {
    let report = MemoryReport::now(shared);
    let total_bytes = report.total_bytes();
    let dataset_bytes: u64 = usage.iter().map(|stream| stream.bytes).sum();
    let peak_bytes = shared.peak_bytes.load(Relaxed);
    let resident_bytes = resident_bytes();
    let records = report.records;
    let integers = [
        ("peak.allocated", peak_bytes),
        ("total.allocated", total_bytes),
        ("startup.allocated", report.startup_bytes),
        ("clients.normal", report.client_bytes),
        ("buffers", records.buffer_bytes),
        ("slowlog.bytes", report.slowlog_bytes),
        ("overhead.total", report.overhead_bytes(dataset_bytes)),
        ("keys.count", report.entities),
        ("keys.bytes-per-key", records.taken_bytes.checked_div(report.entities).unwrap_or(0)),
        ("dataset.bytes", dataset_bytes),
        ("index.bytes", records.index_bytes),
        ("dedup.bytes", records.dedup_bytes),
        ("dedup.ids", records.dedup_ids),
        ("dedup.sources", records.dedup_sources),
        ("pool.bytes", records.pool_bytes),
        ("retired.slots", records.retired_slots),
        ("chunks.taken", records.taken_bytes),
        ("chunks.populated-ahead", records.committed_bytes.saturating_sub(records.taken_bytes)),
        ("resident.bytes", resident_bytes),
        ("fragmentation.bytes", resident_bytes.saturating_sub(total_bytes)),
    ];
    let doubles = [
        ("dataset.percentage", percentage(dataset_bytes, total_bytes.saturating_sub(report.startup_bytes))),
        ("peak.percentage", percentage(total_bytes, peak_bytes)),
        ("fragmentation", resident_bytes as f64 / total_bytes.max(1) as f64),
    ];
    let streams: Vec<&Arc<Stream>> = catalogue.iter().collect();
    reply::map(out, proto, integers.len() + doubles.len() + streams.len());
    for (name, value) in integers {
        reply::bulk(out, name.as_bytes());
        reply::integer(out, value as i64);
    }
    for (name, value) in doubles {
        reply::bulk(out, name.as_bytes());
        reply::double(out, proto, value);
    }
    for stream in streams {
        let (mut entities, mut bytes) = (0, 0);
        for part in usage.iter().filter(|part| part.stream == stream.id) {
            entities += part.entities;
            bytes += part.bytes;
        }
        reply::bulk(out, format!("stream.{}", stream.definition.name).as_bytes());
        reply::map(out, proto, 2);
        reply::bulk(out, b"bytes");
        reply::integer(out, bytes as i64);
        reply::bulk(out, b"entities");
        reply::integer(out, entities as i64);
    }
}

fn percentage(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_has_all_of_what_clients_and_the_slowlog_hold() {
        let total = |client_bytes, slowlog_bytes| {
            let records = MemoryNumbersNow { buffer_bytes: 1, ..MemoryNumbersNow::default() };
            let report =
                MemoryReport { records, startup_bytes: 10, client_bytes, slowlog_bytes, entities: 5 };
            (report.total_bytes(), report.overhead_bytes(1))
        };
        assert_eq!(total(0, 0), (11, 10));
        assert_eq!(total(100, 1_000), (1_111, 1_110));
    }
}
