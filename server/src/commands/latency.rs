//! LATENCY: when something took long, and how long commands take.

mod doctor;
mod graph;

use windrow_protocol::command::{self, COMMANDS, SubcommandId};
use windrow_protocol::{Proto, reply};

use super::slowlog::write_help;
use super::{Call, Flow, shown};
use crate::shared::Shared;
use crate::timing::{BUCKETS, LatencyEvent, bucket_us, row_of};

const HELP: [&str; 16] = [
    "LATENCY <subcommand> [<arg> ...]. Subcommands are:",
    "LATEST",
    "    The newest spike of each event: name, Unix time in seconds, milliseconds, the longest ever.",
    "HISTORY <event>",
    "    The last 160 spikes of an event: pairs of Unix time in seconds and milliseconds.",
    "GRAPH <event>",
    "    These spikes, drawn.",
    "RESET [<event> ...]",
    "    Forgets the spikes of these events, or of all.",
    "DOCTOR",
    "    What spikes there were, and what to do about them.",
    "HISTOGRAM [<command> ...]",
    "    Calls of these commands, or of all, and how many of them took at most how many microseconds.",
    "HELP",
    "    This text.",
    "Events: command, fast-command, tick, log-write, log-fsync, snapshot, expire-cycle.",
];

/// `LATENCY LATEST|HISTORY|GRAPH|RESET|DOCTOR|HISTOGRAM|HELP`
pub(super) fn latency(call: &mut Call<'_>) -> Flow {
    match call.subcommand {
        Some(SubcommandId::LatencyLatest) => latest(call),
        Some(SubcommandId::LatencyHistory) => history(call),
        Some(SubcommandId::LatencyReset) => reset(call),
        Some(SubcommandId::LatencyGraph) => graph(call),
        Some(SubcommandId::LatencyDoctor) => {
            let threshold_ms = call.core.config.latency_threshold_ms;
            let spikes = LatencyEvent::ALL.map(|event| (event, call.shared().latency.of(event)));
            write_text(call, &doctor::report(threshold_ms, &spikes))
        }
        Some(SubcommandId::LatencyHistogram) => histogram(call),
        Some(SubcommandId::LatencyHelp) => write_help(call, &HELP),
        Some(other) => unreachable!("{other:?} is no subcommand of LATENCY"),
        None => unreachable!("LATENCY has a subcommand"),
    }
}

fn write_text(call: &mut Call<'_>, text: &str) -> Flow {
    let proto = call.session.proto;
    reply::verbatim(call.out(), proto, *b"txt", text.as_bytes());
    Flow::Done
}

/// `LATENCY LATEST`
fn latest(call: &mut Call<'_>) -> Flow {
    let monitor = &call.shared().latency;
    let found: Vec<_> = LatencyEvent::ALL
        .into_iter()
        .filter_map(|event| {
            let spikes = monitor.of(event);
            spikes.last.back().map(|newest| (event, *newest, spikes.ms_max))
        })
        .collect();
    let out = call.out();
    reply::array(out, found.len());
    for (event, newest, ms_max) in found {
        reply::array(out, 4);
        reply::bulk(out, event.name().as_bytes());
        reply::integer(out, newest.at_s);
        reply::integer(out, newest.ms as i64);
        reply::integer(out, ms_max as i64);
    }
    Flow::Done
}

/// `LATENCY HISTORY event`: empty for an event that there is not, as in Redis.
fn history(call: &mut Call<'_>) -> Flow {
    let event = LatencyEvent::from_name(call.request.at(2));
    let spikes = event.map(|event| call.shared().latency.of(event)).unwrap_or_default();
    let out = call.out();
    reply::array(out, spikes.last.len());
    for spike in &spikes.last {
        reply::array(out, 2);
        reply::integer(out, spike.at_s);
        reply::integer(out, spike.ms as i64);
    }
    Flow::Done
}

/// `LATENCY RESET [event ...]`: replies of how many events something was forgotten.
fn reset(call: &mut Call<'_>) -> Flow {
    let named = call.request.skip(2);
    let monitor = &call.shared().latency;
    let count = if named.is_empty() {
        LatencyEvent::ALL.into_iter().filter(|event| monitor.reset(*event)).count()
    } else {
        named.iter().filter_map(LatencyEvent::from_name).filter(|event| monitor.reset(*event)).count()
    };
    reply::integer(call.out(), count as i64);
    Flow::Done
}

/// `LATENCY GRAPH event`
fn graph(call: &mut Call<'_>) -> Flow {
    let name = call.request.at(2);
    let found = LatencyEvent::from_name(name).map(|event| (event, call.shared().latency.of(event)));
    match found {
        Some((event, spikes)) if !spikes.last.is_empty() => {
            let now_s = call.shared().clock.now_ms().div_euclid(1_000);
            write_text(call, &graph::draw(event, &spikes, now_s))
        }
        _ => call.error(format_args!("ERR No samples available for event '{}'", shown(name))),
    }
}

/// `LATENCY HISTOGRAM [command ...]`
fn histogram(call: &mut Call<'_>) -> Flow {
    let named = call.request.skip(2);
    let mut rows = Vec::new();
    if named.is_empty() {
        COMMANDS.iter().for_each(|command| add_rows(&mut rows, command));
    }
    for name in named.iter() {
        // A command may be named twice, and is replied once: a map has a key once.
        let (container, sub) = match name.iter().position(|&byte| byte == b'|') {
            Some(at) => (&name[..at], Some(&name[at + 1..])),
            None => (name, None),
        };
        let Some(found) = command::lookup(container) else { continue };
        match sub {
            None => add_rows(&mut rows, found),
            Some(sub) => {
                rows.extend(
                    command::lookup_sub(found, sub).map(|sub| (sub.name, row_of(found.id, Some(sub.id)))),
                );
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    rows.retain(|(_, row)| seen.insert(*row));
    let counted: Vec<_> = rows
        .into_iter()
        .map(|(name, row)| (name, counts(call.shared(), row)))
        .filter(|(_, counts)| counts.iter().any(|&calls| calls > 0))
        .collect();
    let proto = call.session.proto;
    let out = call.out();
    reply::map(out, proto, counted.len());
    for (name, counts) in counted {
        reply::bulk(out, name.as_bytes());
        write_counts(out, proto, &counts);
    }
    Flow::Done
}

/// Adds the rows of a command and of its subcommands.
fn add_rows(rows: &mut Vec<(&'static str, usize)>, command: &'static command::Command) {
    rows.push((command.name, row_of(command.id, None)));
    rows.extend(command.subcommands.iter().map(|sub| (sub.name, row_of(command.id, Some(sub.id)))));
}

fn counts(shared: &Shared, row: usize) -> [u64; BUCKETS] {
    let mut counts = [0; BUCKETS];
    for shard in &shared.shards {
        shard.numbers.command_times.sum_into(row, &mut counts);
    }
    counts
}

/// Calls, and for each bucket that holds any, how many took no longer.
fn write_counts(out: &mut Vec<u8>, proto: Proto, counts: &[u64; BUCKETS]) {
    reply::map(out, proto, 2);
    reply::bulk(out, b"calls");
    reply::integer(out, counts.iter().sum::<u64>() as i64);
    reply::bulk(out, b"histogram_usec");
    reply::map(out, proto, counts.iter().filter(|&&calls| calls > 0).count());
    let mut up_to = 0;
    for (bucket, &calls) in counts.iter().enumerate().filter(|&(_, &calls)| calls > 0) {
        up_to += calls;
        reply::integer(out, bucket_us(bucket) as i64);
        reply::integer(out, up_to as i64);
    }
}
