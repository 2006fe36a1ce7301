//! LATENCY DOCTOR: spikes in words, and what to do about them.

use std::fmt::Write;

use crate::timing::{LatencyEvent, Spikes};

/// The report.
pub(super) fn report(threshold_ms: u64, events: &[(LatencyEvent, Spikes)]) -> String {
    let mut text = String::new();
    if threshold_ms == 0 {
        text.push_str(
            "Latency monitoring is off. Turn it on with CONFIG SET latency-monitor-threshold <milliseconds>: \
             what takes at least so long is kept.\n",
        );
    }
    let seen: Vec<_> = events.iter().filter(|(_, spikes)| !spikes.last.is_empty()).collect();
    if seen.is_empty() {
        if threshold_ms > 0 {
            let _ = writeln!(
                text,
                "No latency spikes: nothing has taken {threshold_ms} ms since they were last reset."
            );
        }
        return text;
    }
    let _ = writeln!(text, "There were latency spikes:\n");
    for (index, (event, spikes)) in seen.iter().enumerate() {
        let _ = writeln!(text, "{}. {}: {}", index + 1, event.name(), in_words(spikes));
    }
    text.push_str("\nWhat to do:\n\n");
    for (event, _) in &seen {
        let _ = writeln!(text, "- {}: {}", event.name(), advice(*event));
    }
    text
}

fn in_words(spikes: &Spikes) -> String {
    let count = spikes.last.len() as u64;
    let sum: u64 = spikes.last.iter().map(|spike| spike.ms).sum();
    let mean = sum / count;
    let deviation = spikes.last.iter().map(|spike| spike.ms.abs_diff(mean)).sum::<u64>() / count;
    let (first, last) = (spikes.last.front().map_or(0, |s| s.at_s), spikes.last.back().map_or(0, |s| s.at_s));
    let ms_max = spikes.ms_max;
    if count == 1 {
        return format!("one spike, of {mean} ms. Longest ever: {ms_max} ms.");
    }
    let period_s = (last - first).unsigned_abs() / (count - 1);
    format!(
        "spikes in {count} seconds, every {period_s} s (mean {mean} ms, mean deviation {deviation} ms). Longest ever: {ms_max} ms."
    )
}

fn advice(event: LatencyEvent) -> &'static str {
    match event {
        LatencyEvent::Command => {
            "SLOWLOG GET names the commands. Ask for fewer entities or features at once, or give long windows wider buckets."
        }
        LatencyEvent::FastCommand => {
            "a single event or read seldom takes long by itself. If SLOWLOG GET shows reads of sketches over many buckets, give them \
             wider buckets; if it shows any, the core was taken away: see tick."
        }
        LatencyEvent::Tick => {
            "INFO shards says of the longest tick how much of it was on a processor. If little, other threads run on this core: leave \
             one to each shard (shards, pin-shards), and see that the machine does not swap."
        }
        LatencyEvent::LogWrite => {
            "writing the log to the page cache took long: the disk does not keep up, or another process writes much to it."
        }
        LatencyEvent::LogFsync => {
            "the disk syncs slowly. Acknowledgements wait for it under appendfsync always, and under everysec once it takes more than a \
             second. Move the data directory to a faster disk, or lower save-rate-limit."
        }
        LatencyEvent::Snapshot => {
            "images are written in the background, and commands do not wait for them. If other spikes come at the same times, lower \
             save-rate-limit, or write images less often (save)."
        }
        LatencyEvent::ExpireCycle => {
            "upkeep is bounded to a quarter of a millisecond: the core was taken away meanwhile. See tick."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Spike;

    #[test]
    fn the_report_says_that_monitoring_is_off_or_that_nothing_was_seen_or_what_was() {
        let spikes = |spikes: &[(i64, u64)]| Spikes {
            last: spikes.iter().map(|&(at_s, ms)| Spike { at_s, ms }).collect(),
            ms_max: 90,
        };
        let off = report(0, &[(LatencyEvent::Tick, spikes(&[]))]);
        assert!(off.contains("CONFIG SET latency-monitor-threshold") && off.lines().count() == 1, "{off}");
        let none = report(5, &[(LatencyEvent::Tick, spikes(&[]))]);
        assert!(none.contains("nothing has taken 5 ms"), "{none}");
        let some = report(
            5,
            &[(LatencyEvent::Tick, spikes(&[])), (LatencyEvent::LogFsync, spikes(&[(10, 20), (70, 40)]))],
        );
        assert!(
            some.contains(
                "1. log-fsync: spikes in 2 seconds, every 60 s (mean 30 ms, mean deviation 10 ms). Longest ever: 90 ms."
            ),
            "{some}"
        );
        assert!(some.contains("- log-fsync: the disk syncs slowly") && !some.contains("tick:"), "{some}");
    }
}
