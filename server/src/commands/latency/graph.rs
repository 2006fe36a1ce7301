//! LATENCY GRAPH: spikes as columns, the oldest on the left.

use std::fmt::Write;

use crate::timing::{LatencyEvent, Spikes};

/// Height of the longest column.
const LINES: u64 = 8;

/// Draws the spikes of an event. Below each column stands how long ago it was.
pub(super) fn draw(event: LatencyEvent, spikes: &Spikes, now_s: i64) -> String {
    let times = || spikes.last.iter().map(|spike| spike.ms);
    let (high, low) = (times().max().unwrap_or(0), times().min().unwrap_or(0));
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} - high {high} ms, low {low} ms (all time high {} ms)",
        event.name(),
        spikes.ms_max
    );
    let _ = writeln!(text, "{}", "-".repeat(80));
    for line in (1..=LINES).rev() {
        let columns = spikes.last.iter().map(|spike| {
            let height = (spike.ms * LINES).div_ceil(high.max(1)).max(1);
            match height.cmp(&line) {
                std::cmp::Ordering::Greater => '|',
                std::cmp::Ordering::Equal => '#',
                std::cmp::Ordering::Less => ' ',
            }
        });
        let columns: String = columns.collect();
        let _ = writeln!(text, "{}", columns.trim_end());
    }
    text.push('\n');
    let ages: Vec<String> = spikes.last.iter().map(|spike| age(now_s - spike.at_s)).collect();
    for line in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        let letters: String =
            ages.iter().map(|age| age.as_bytes().get(line).map_or(' ', |&byte| char::from(byte))).collect();
        let _ = writeln!(text, "{}", letters.trim_end());
    }
    text
}

fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3_600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Spike;

    #[test]
    fn columns_are_as_high_as_spikes_are_long_and_say_how_long_ago() {
        let last = [(1_000, 80), (4_000, 10), (4_545, 40)].map(|(at_s, ms)| Spike { at_s, ms });
        let spikes = Spikes { last: last.into(), ms_max: 500 };
        let lines = draw(LatencyEvent::Tick, &spikes, 4_600);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[0], "tick - high 80 ms, low 10 ms (all time high 500 ms)");
        assert_eq!(lines[2..10], ["#", "|", "|", "|", "| #", "| |", "| |", "|#|"]);
        assert_eq!(lines[10..], ["", "115", "h05", " ms"]);
    }
}
