//! Results as text: for a terminal, and as a table for a README.

use crate::advice;
use crate::compare::{ContenderResult, Line};
use crate::measure::{Figures, Latency, Overload, Summary};
use crate::replies::Outcomes;
use crate::spread::Spread;
use std::fmt::Write;

/// A number with its digits in groups of three, without decimals.
pub fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in microseconds, in the unit that suits it.
pub fn time(us: f64) -> String {
    match us {
        us if us < 10.0 => format!("{us:.1} µs"),
        us if us < 1000.0 => format!("{us:.0} µs"),
        us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// A number of things, of one or of several.
pub fn counted(number: u64, one: &str, several: &str) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let number_text = grouped(number as f64);
    format!("{number_text} {}", if number == 1 { one } else { several })
}

/// What servers say they are, each once, as a sentence; `None` if none of them does.
pub fn servers<'i>(identities: impl Iterator<Item = Option<&'i str>>) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for name in identities.flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| format!("Servers, by what they say of themselves: {}.", names.join(", ")))
}

/// The last line of results that are not all there, with what ended them; empty if they are.
pub fn incomplete(ended_by: Option<&str>) -> String {
    ended_by
        .map_or_else(String::new, |why| format!("INCOMPLETE: {why}; what is above was measured before.\n"))
}

/// One run for a terminal.
pub fn summary(title: &str, summary: &Summary) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{title}");
    let rate = rates(&summary.total, summary.seconds);
    let _ = writeln!(text, "  rate        {rate}, over {}", time(summary.seconds * 1e6));
    if let Some(server) = summary.server {
        let busy = server.cpu_s / summary.seconds * 100.0;
        let per_cpu_s =
            summary.rate_per_cpu_s.map(|rate| format!(", {} operations per CPU-second", grouped(rate)));
        let _ = writeln!(text, "  server      {busy:.0} % of a core{}", per_cpu_s.unwrap_or_default());
        let _ =
            writeln!(text, "  memory      {} MiB resident", grouped(server.rss_bytes as f64 / 1_048_576.0));
    }
    let own = summary.generator.cpu_s / summary.seconds * 100.0;
    let _ = writeln!(text, "  generator   {own:.0} % of a core");
    let at_least = if summary.overload.is_some() { "≥ " } else { "" };
    let _ = writeln!(text, "  latency     {}", percentiles(&summary.total.latency, at_least));
    for (name, figures) in &summary.kinds {
        let rate = rates(figures, summary.seconds);
        let _ = writeln!(text, "  {name:<11} {rate}, latency {}", percentiles(&figures.latency, at_least));
    }
    if let Some(outcomes) = &summary.outcomes {
        let Outcomes { ok, clamped, skewed, duplicate, late } = *outcomes;
        let _ = writeln!(
            text,
            "  events      {ok} OK, {clamped} CLAMPED, {skewed} SKEWED, {duplicate} DUPLICATE, {late} LATE"
        );
    }
    if let Some(sample) = &summary.sample {
        let _ = writeln!(text, "  a reply     {sample:?}");
    }
    if let Some(overload) = &summary.overload {
        let _ =
            writeln!(text, "  OVERLOADED  {}: {}", overload.kinds.join(", "), overload_in_words(overload));
    }
    if !summary.is_clean() {
        let wrong = counted(summary.errors, "reply", "replies");
        let _ = writeln!(text, "  WRONG       {wrong}, {} missing", grouped(summary.lost as f64));
        if let Some(error) = &summary.first_error {
            let _ = writeln!(text, "  the first   {error}");
            if let Some(remedy) = advice::of_reply(error) {
                let _ = writeln!(text, "              {remedy}");
            }
        }
    }
    text
}

/// Operations, and the requests that they came in where these are fewer.
fn rates(figures: &Figures, seconds: f64) -> String {
    let operations = format!("{} operations/s", grouped(figures.rate_per_s));
    if figures.operations == figures.requests {
        return operations;
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let requests_per_s = figures.requests as f64 / seconds;
    format!("{operations} in {} requests/s", grouped(requests_per_s))
}

fn overload_in_words(overload: &Overload) -> String {
    let Overload { kinds: _, asked_per_s, reached_per_s, behind, outstanding } = overload;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let [behind, outstanding] = [*behind as f64, *outstanding as f64].map(grouped);
    format!(
        "{} of {} requests/s answered; {behind} more were outstanding at the end than at the start, {outstanding} still when \
         the wait for replies (drain) ended; latencies are at least those shown",
        grouped(*reached_per_s),
        grouped(*asked_per_s),
    )
}

fn percentiles(latency: &Latency, at_least: &str) -> String {
    let Latency { p50_us, p90_us, p99_us, p999_us, p9999_us, max_us } = *latency;
    let [p50, p90, p99, p999, p9999, max] =
        [p50_us, p90_us, p99_us, p999_us, p9999_us, max_us].map(|us| format!("{at_least}{}", time(us)));
    format!("p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  p99.99 {p9999}  max {max}")
}

/// The first two contenders side by side as a Markdown table: a row for each line that both took part in.
pub fn side_by_side(lines: &[Line]) -> String {
    let both =
        |line: &Line| (line.results.len() > 1).then(|| [line.results[0].clone(), line.results[1].clone()]);
    let pairs: Vec<_> = lines.iter().filter_map(|line| Some((line, both(line)?))).collect();
    let Some((_, [first, second])) = pairs.first() else { return String::new() };
    let (a, b) = (first.contender.title(), second.contender.title());
    let mut text = format!(
        "| workload | {a} /s | {b} /s | ratio | {a} per CPU-second | {b} per CPU-second | ratio | \
         {a} p50 / p99 / p99.9 | {b} p50 / p99 / p99.9 |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for (line, [a, b]) in pairs {
        let cpu = |result: &ContenderResult| result.median.rate_per_cpu_s.map_or_else(String::new, grouped);
        let short = |spread: Option<Spread>| {
            spread.map_or_else(String::new, |spread| format!("**{:.1}×**", spread.median))
        };
        let latency = |result: &ContenderResult| {
            let Latency { p50_us, p99_us, p999_us, .. } = result.median.latency;
            let [p50, p99, p999] = [p50_us, p99_us, p999_us].map(time);
            format!("{}{p50} / {p99} / {p999}", at_least(result))
        };
        let (rate_a, rate_b) = (grouped(a.median.rate_per_s), grouped(b.median.rate_per_s));
        let _ = writeln!(
            text,
            "| {}, pipeline {} | {rate_a} | {rate_b} | {} | {} | {} | {} | {} | {} |",
            line.mode,
            line.pipeline,
            short(b.rate_ratio),
            cpu(&a),
            cpu(&b),
            short(b.cpu_ratio),
            latency(&a),
            latency(&b),
        );
    }
    text
}

/// A comparison as a Markdown table: a row for each contender of each line, with the spread of the ratios.
pub fn table(lines: &[Line]) -> String {
    let mut text = String::from(
        "| workload | server | rate /s | ratio | per CPU-second | ratio | p50 | p99 | p99.9 | max | RSS MiB |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for line in lines {
        for result in &line.results {
            row(&mut text, line, result);
        }
    }
    text.push_str(
        "\nRatio: the first server's over this one's, median of the rounds (least–greatest). Above 1, the first is \
         faster.\n",
    );
    let results = lines.iter().flat_map(|line| &line.results);
    if let Some(servers) = servers(results.map(|result| result.identity.as_deref())) {
        let _ = writeln!(text, "{servers}");
    }
    text
}

fn row(text: &mut String, line: &Line, result: &ContenderResult) {
    let median = &result.median;
    let ratio = |spread: Option<Spread>| {
        spread.map_or_else(String::new, |spread| {
            format!("{:.2} ({:.2}–{:.2})", spread.median, spread.min, spread.max)
        })
    };
    let latency = |us: f64| format!("{}{}", at_least(result), time(us));
    let _ = writeln!(
        text,
        "| {} pipeline {} | {}{} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        line.mode,
        line.pipeline,
        result.contender.title(),
        if result.is_overloaded() { " (overloaded)" } else { "" },
        grouped(median.rate_per_s),
        ratio(result.rate_ratio),
        median.rate_per_cpu_s.map_or_else(String::new, grouped),
        ratio(result.cpu_ratio),
        latency(median.latency.p50_us),
        latency(median.latency.p99_us),
        latency(median.latency.p999_us),
        latency(median.latency.max_us),
        median.rss_bytes.map_or_else(String::new, |bytes| grouped(bytes / 1_048_576.0)),
    );
}

/// Before latencies of a contender that did not keep up.
fn at_least(result: &ContenderResult) -> &'static str {
    if result.is_overloaded() { "≥ " } else { "" }
}

/// Who did not keep up with the rate asked for, a line for each round of it; empty if everybody did.
pub fn overloads(lines: &[Line]) -> String {
    let mut text = String::new();
    for result in lines.iter().flat_map(|line| &line.results) {
        for (at, round) in result.rounds.iter().enumerate() {
            let Some(overload) = &round.overload else { continue };
            let _ = writeln!(
                text,
                "OVERLOADED: {} on {}, round {} of {}: {}",
                overload.kinds.join(", "),
                result.contender.title(),
                at + 1,
                result.rounds.len(),
                overload_in_words(overload)
            );
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// What was wrong in a comparison, for people; empty if nothing was.
pub fn complaints(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        for result in &line.results {
            for round in result.rounds.iter().filter(|round| !round.is_clean()) {
                let _ = writeln!(
                    text,
                    "WRONG: {} pipeline {} on {}: {}, {} missing; the first: {}",
                    line.mode,
                    line.pipeline,
                    result.contender.title(),
                    counted(round.errors, "reply", "replies"),
                    round.lost,
                    round.first_error.as_deref().unwrap_or("none")
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_apart_from_several() {
        let [none, one, many] = [0, 1, 1234].map(|number| counted(number, "reply", "replies"));
        assert_eq!([none, one, many], ["0 replies", "1 reply", "1,234 replies"]);
    }

    #[test]
    fn servers_are_named_once_in_the_order_of_measuring() {
        let names = [Some("Windrow 0.1.0"), Some("Valkey 8.0.1"), None, Some("Windrow 0.1.0")];
        let expected = "Servers, by what they say of themselves: Windrow 0.1.0, Valkey 8.0.1.";
        assert_eq!(servers(names.into_iter()).as_deref(), Some(expected));
        assert_eq!(servers([None, None].into_iter()), None);
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        let shown = [9.96, 12.3, 999.0, 1500.0, 15_000.0, 1_050_000.0].map(time);
        assert_eq!(shown, ["10.0 µs", "12 µs", "999 µs", "1.50 ms", "15 ms", "1.05 s"]);
    }
}
