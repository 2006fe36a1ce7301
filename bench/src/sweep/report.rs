//! The points as one HTML file that needs nothing else: plots as SVG within it, and the table below.

use super::chart::{Chart, Series, short};
use super::{Axis, Outcome, Point};
use crate::contender::Contender;
use crate::error::BenchError;
use crate::report::{grouped, servers, time};
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1320px;margin:2em auto;padding:0 1em;color:#222}\
    h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid #ccc}.plots{display:flex;flex-wrap:wrap;gap:12px}\
    .plots svg{max-width:100%;height:auto;border:1px solid #eee}table{border-collapse:collapse;font-size:13px;margin:1em 0}\
    th,td{padding:3px 9px;border-bottom:1px solid #eee;text-align:right}th:first-child,td:first-child,th:nth-child(2),td:nth-child(2)\
    {text-align:left}.wrong{color:#b00;font-weight:bold}p.note{color:#555}";

/// The report.
///
/// # Errors
///
/// A plot cannot be drawn.
pub fn html(outcome: &Outcome) -> Result<String, BenchError> {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>windrow-bench sweep</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>windrow-bench sweep</h1>\n<p>{}</p>\n",
        escaped(&outcome.setup)
    );
    if let Some(servers) = servers(outcome.points.iter().map(|point| point.identity.as_deref())) {
        let _ = writeln!(text, "<p class=\"note\">{}</p>", escaped(&servers));
    }
    if let Some(why) = &outcome.ended_by {
        let _ = writeln!(
            text,
            "<p class=\"wrong\">Incomplete: {}. What follows was measured before.</p>",
            escaped(why)
        );
    }
    if !outcome.is_clean() {
        text.push_str("<p class=\"wrong\">Some replies were wrong: these figures do not count.</p>\n");
    }
    if outcome.points.iter().any(|point| point.is_overloaded) {
        text.push_str(
            "<p class=\"note\">Overloaded: the server did not keep up with the rate asked for. Its latencies (≥) are the least they are, \
             in the plots as well; a longer run would have found longer ones.</p>\n",
        );
    }
    for axis in axes(outcome) {
        section(&mut text, outcome, axis)?;
    }
    text.push_str("</body></html>\n");
    Ok(text)
}

/// Axes in the order of measuring.
fn axes(outcome: &Outcome) -> Vec<Axis> {
    let mut axes = Vec::new();
    for point in &outcome.points {
        if !axes.contains(&point.axis) {
            axes.push(point.axis);
        }
    }
    axes
}

/// The plots as SVG files: names without folder, and what is in them.
///
/// # Errors
///
/// A plot cannot be drawn.
pub fn pictures(outcome: &Outcome) -> Result<Vec<(String, String)>, BenchError> {
    let mut pictures = Vec::new();
    for axis in axes(outcome) {
        let points: Vec<&Point> = outcome.points.iter().filter(|point| point.axis == axis).collect();
        for mode in modes(&points) {
            let points: Vec<&Point> = points.iter().copied().filter(|point| point.mode == mode).collect();
            let named =
                |plot: Plot| (format!("{axis}-{}-{}.svg", mode.replace(':', "-"), plot.name), plot.svg);
            pictures.extend(plots(axis, &points)?.into_iter().map(named));
        }
    }
    Ok(pictures)
}

fn modes<'p>(points: &[&'p Point]) -> Vec<&'p str> {
    let mut modes: Vec<&str> = points.iter().map(|point| point.mode.as_str()).collect();
    modes.sort_unstable();
    modes.dedup();
    modes
}

/// A plot, and what it shows in a word.
struct Plot {
    name: &'static str,
    svg: String,
}

fn section(text: &mut String, outcome: &Outcome, axis: Axis) -> Result<(), BenchError> {
    let points: Vec<&Point> = outcome.points.iter().filter(|point| point.axis == axis).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "<h2>{}</h2>", axis.title());
    for mode in modes(&points) {
        let points: Vec<&Point> = points.iter().copied().filter(|point| point.mode == mode).collect();
        let _ = writeln!(text, "<h3>{}</h3>\n<div class=\"plots\">", escaped(mode));
        for Plot { svg, .. } in plots(axis, &points)? {
            text.push_str(&svg);
            text.push('\n');
        }
        text.push_str("</div>\n");
        table(text, axis, &points);
    }
    Ok(())
}

fn plots(axis: Axis, points: &[&Point]) -> Result<Vec<Plot>, BenchError> {
    let chart =
        |title, y_title, y_text| Chart { title, x_title: axis.unit(), y_title, is_quantiles: false, y_text };
    let mut plots = Vec::new();
    let mut add = |name, svg: Option<String>| plots.extend(svg.map(|svg| Plot { name, svg }));
    #[expect(clippy::cast_precision_loss, reason = "values are far below 2^53")]
    let x = |point: &Point| point.value as f64;
    if axis == Axis::Rate {
        for (name, title, number) in [
            (
                "p50",
                "Latency p50 against the rate asked for",
                (|point| point.latency.p50_us) as fn(&Point) -> f64,
            ),
            ("p99", "Latency p99 against the rate asked for", |point| point.latency.p99_us),
            ("p999", "Latency p99.9 against the rate asked for", |point| point.latency.p999_us),
        ] {
            let lines = series(points, |point| vec![(x(point), number(point))]);
            add(name, chart(title, "latency", time).svg(&lines)?);
        }
        let reached = series(points, |point| vec![(x(point), point.rate_per_s)]);
        add(
            "reached",
            chart("Operations a second that were answered", "operations / s", short).svg(&reached)?,
        );
        // Where the slowest contender is still measured within its means.
        let mut values: Vec<u64> = points.iter().map(|point| point.value).collect();
        values.sort_unstable();
        values.dedup();
        let middle = values[values.len() / 2];
        let title = format!("Latency by percentile at {} requests a second asked for", short(middle as f64));
        let chart = Chart {
            title: &title,
            x_title: "percentile",
            y_title: "latency",
            is_quantiles: true,
            y_text: time,
        };
        let at_middle: Vec<&Point> = points.iter().copied().filter(|point| point.value == middle).collect();
        add("percentiles", chart.svg(&series(&at_middle, |point| point.curve.clone()))?);
    } else {
        let rate = series(points, |point| vec![(x(point), point.rate_per_s)]);
        add("operations", chart("Operations a second", "operations / s", short).svg(&rate)?);
        let cpu =
            series(points, |point| point.rate_per_cpu_s.map(|rate| (x(point), rate)).into_iter().collect());
        add("cost", chart("Operations a CPU-second of the server", "operations / CPU-s", short).svg(&cpu)?);
        let p99 = series(points, |point| vec![(x(point), point.latency.p99_us)]);
        add("p99", chart("Latency p99, closed loop", "latency", time).svg(&p99)?);
        if axis == Axis::Entities {
            let memory =
                series(points, |point| point.rss_bytes.map(|bytes| (x(point), bytes)).into_iter().collect());
            add("memory", chart("Resident memory of the server", "bytes", short).svg(&memory)?);
        }
    }
    Ok(plots)
}

/// A line for each contender; one contender has one colour in all plots.
fn series(points: &[&Point], of: impl Fn(&Point) -> Vec<(f64, f64)>) -> Vec<Series> {
    const ORDER: [Contender; 11] = [
        Contender::Windrow,
        Contender::Zset,
        Contender::Hash,
        Contender::Lua,
        Contender::Ts,
        Contender::Plain,
        Contender::Null,
        Contender::ValkeyZset,
        Contender::ValkeyHash,
        Contender::ValkeyLua,
        Contender::ValkeyPlain,
    ];
    ORDER
        .iter()
        .enumerate()
        .map(|(colour, contender)| Series {
            name: contender.title().to_owned(),
            colour,
            points: points
                .iter()
                .filter(|point| point.contender == *contender)
                .flat_map(|point| of(point))
                .collect(),
        })
        .filter(|series| !series.points.is_empty())
        .collect()
}

fn table(text: &mut String, axis: Axis, points: &[&Point]) {
    let _ = writeln!(
        text,
        "<table><tr><th>{}</th><th>server</th><th>operations / s</th><th>per CPU-second</th><th>p50</th><th>p99</th>\
         <th>p99.9</th><th>max</th><th>RSS MiB</th><th>unanswered</th></tr>",
        axis.title()
    );
    for point in points {
        let latency = &point.latency;
        let wrong = if point.wrong > 0 { " class=\"wrong\"" } else { "" };
        let (overloaded, at_least) = if point.is_overloaded { (" (overloaded)", "≥ ") } else { ("", "") };
        let _ = writeln!(
            text,
            "<tr{wrong}><td>{}</td><td>{}{overloaded}</td><td>{}</td><td>{}</td><td>{at_least}{}</td><td>{at_least}{}</td>\
             <td>{at_least}{}</td><td>{at_least}{}</td><td>{}</td><td>{}</td></tr>",
            short(point.value as f64),
            point.contender.title(),
            grouped(point.rate_per_s),
            point.rate_per_cpu_s.map_or_else(String::new, grouped),
            time(latency.p50_us),
            time(latency.p99_us),
            time(latency.p999_us),
            time(latency.max_us),
            point.rss_bytes.map_or_else(String::new, |bytes| grouped(bytes / 1_048_576.0)),
            point.unanswered,
        );
    }
    text.push_str("</table>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_needs_nothing_else_and_shows_every_axis_and_contender() {
        let outcome = super::super::example();
        let html = html(&outcome).unwrap();
        assert_eq!(html.matches("<svg").count(), 3 + 5, "three plots of the pipeline, five of the rate");
        for needed in [
            "Redis sorted set",
            "requests a second asked for",
            "Latency by percentile at 20k",
            "&lt;here&gt; &amp; there",
            "</html>",
        ] {
            assert!(html.contains(needed), "{needed}");
        }
        assert!(!html.contains("<script") && !html.contains("src=") && !html.contains("href="));
        assert!(!html.contains("do not count"));
    }

    #[test]
    fn every_plot_is_a_picture_of_its_own_too() {
        let outcome = super::super::example();
        let pictures = pictures(&outcome).unwrap();
        let names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "pipeline-events-operations.svg",
            "pipeline-events-cost.svg",
            "pipeline-events-p99.svg",
            "rate-events-p50.svg",
            "rate-events-p99.svg",
            "rate-events-p999.svg",
            "rate-events-reached.svg",
            "rate-events-percentiles.svg",
        ];
        assert_eq!(names, expected);
        let html = html(&outcome).unwrap();
        assert!(pictures.iter().all(|(_, svg)| svg.starts_with("<svg") && html.contains(svg)));
    }

    #[test]
    fn wrong_replies_are_said_above_all() {
        let mut outcome = super::super::example();
        outcome.points[0].wrong = 1;
        assert!(html(&outcome).unwrap().contains("do not count"));
    }

    #[test]
    fn what_an_overload_left_unanswered_is_shown_and_does_not_spoil_the_rest() {
        let mut outcome = super::super::example();
        outcome.points[0].unanswered = 4321;
        let html = html(&outcome).unwrap();
        assert!(html.contains("<td>4321</td></tr>") && !html.contains("do not count"));
        assert!(!html.contains("≥") && !html.contains("verloaded"));
    }

    #[test]
    fn latencies_of_a_server_that_fell_behind_are_shown_as_the_least_they_are() {
        let mut outcome = super::super::example();
        outcome.points[0].is_overloaded = true;
        let html = html(&outcome).unwrap();
        assert!(
            html.contains("<td>Windrow (overloaded)</td>") && html.contains("Its latencies (≥)"),
            "{html}"
        );
        assert_eq!(html.matches("<td>≥ ").count(), 4, "p50, p99, p99.9 and the longest of one point");
    }
}
