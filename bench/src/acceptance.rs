//! Whether a run kept the bounds that its workload file sets.

use crate::measure::{Figures, Summary};
use crate::report::{counted, grouped, time};
use crate::workload_file::{Accept, MemoryBound, RequestPlan, WorkloadFile};
use serde::Serialize;
use std::fmt::Write;

/// One bound, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Of which kind of request.
    pub request: String,
    /// What was bounded.
    pub bound: String,
    /// What was measured.
    pub measured: String,
    /// Whether anything was measured that could be held against it.
    pub is_measured: bool,
    /// Whether it was kept; not, if nothing was measured.
    pub is_kept: bool,
}

/// Fewer requests than this are expected of a kind in the measured time: it may well get none.
const EXPECTED_MIN: f64 = 5.0;

/// Says of which kinds of requests so few fall due in the measured time that there may be none at all.
pub fn seldom(file: &WorkloadFile) -> Vec<String> {
    let of = |plan: &RequestPlan| {
        let rate = plan.rate.filter(|rate| rate * file.load.duration < EXPECTED_MIN)?;
        let expected = rate * file.load.duration;
        Some(format!("{}: {expected:.1} requests are to be expected, {}", plan.name, remedy(rate, file)))
    };
    file.request.iter().filter_map(of).collect()
}

/// What to do about a kind of request that comes too seldom to be measured.
fn remedy(rate: f64, file: &WorkloadFile) -> String {
    let enough_s = (EXPECTED_MIN / rate).ceil();
    format!(
        "{rate}/s for {} s; measure longer (-d {enough_s}) or raise the rates (--scale)",
        file.load.duration
    )
}

/// Holds the bounds of a file against a run.
pub fn judge(file: &WorkloadFile, summary: &Summary) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (at, plan) in file.request.iter().enumerate() {
        let figures = summary.kinds.get(at).map_or(&summary.total, |(_, figures)| figures);
        if figures.requests_timed == 0 {
            verdicts.push(unmeasured(plan, file));
            continue;
        }
        let Some(accept) = plan.accept else { continue };
        let rate = plan.rate.map(|rate| rate * plan.rows as f64);
        judge_kind(&mut verdicts, &plan.name, accept, figures, rate);
    }
    verdicts
}

/// A kind of request that a file has and a run had none of: it would be wrong to accept the one for the other.
fn unmeasured(plan: &RequestPlan, file: &WorkloadFile) -> Verdict {
    Verdict {
        request: plan.name.clone(),
        bound: "at least one request in the measured time".to_owned(),
        measured: plan.rate.map_or_else(|| "none".to_owned(), |rate| format!("none: {}", remedy(rate, file))),
        is_measured: false,
        is_kept: false,
    }
}

fn judge_kind(verdicts: &mut Vec<Verdict>, name: &str, accept: Accept, figures: &Figures, rate: Option<f64>) {
    let latency = &figures.latency;
    let bounds = [("p99", accept.p99_ms, latency.p99_us), ("p99.9", accept.p999_ms, latency.p999_us)];
    for (what, bound_ms, us) in bounds {
        let Some(bound_ms) = bound_ms else { continue };
        let timed = counted(figures.requests_timed, "request", "requests");
        verdicts.push(Verdict {
            request: name.to_owned(),
            bound: format!("{what} at most {}", time(bound_ms * 1000.0)),
            measured: format!("{} of {timed}", time(us)),
            is_measured: true,
            is_kept: us <= bound_ms * 1000.0,
        });
    }
    if let Some((part, asked)) = accept.rate_part.zip(rate) {
        verdicts.push(Verdict {
            request: name.to_owned(),
            bound: format!("at least {}/s", grouped(asked * part)),
            measured: format!("{}/s", grouped(figures.rate_per_s)),
            is_measured: true,
            is_kept: figures.rate_per_s >= asked * part,
        });
    }
}

/// Holds the bound of memory against the bytes that came with so many entities: those that the server has, which are fewer
/// than there are names where some were never drawn.
pub fn judge_memory(bound: &MemoryBound, grown_bytes: u64, entities: u64) -> Verdict {
    #[expect(clippy::cast_precision_loss, reason = "memory and counts are below 2^53")]
    let (bytes, count) = (grown_bytes as f64, entities as f64);
    let is_measured = entities > 0;
    Verdict {
        request: format!(
            "memory after the fill, for each {} of the {} there are",
            bound.names,
            grouped(count)
        ),
        bound: format!("at most {:.0} bytes", bound.bytes_max),
        measured: if is_measured { format!("{:.0} bytes", bytes / count) } else { "none".to_owned() },
        is_measured,
        is_kept: is_measured && bytes <= bound.bytes_max * count,
    }
}

/// Whether every bound was kept.
pub fn all_kept(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|verdict| verdict.is_kept)
}

/// A line for each bound.
pub fn lines(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for Verdict { request, bound, measured, is_measured, is_kept } in verdicts {
        let word = match (is_measured, is_kept) {
            (false, _) => "UNMEASURED",
            (true, true) => "kept",
            (true, false) => "MISSED",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {word:<11} {request}: {bound}; measured {measured}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Latency, Machine, Measured, ProcessUse};
    use crate::scenario::Scenario;

    fn figures() -> Figures {
        let latency = Latency { p99_us: 2_900.0, p999_us: 9_000.0, ..Latency::default() };
        Figures {
            operations: 950,
            rate_per_s: 950.0,
            requests: 950,
            requests_timed: 1_000,
            latency,
            curve: Vec::new(),
        }
    }

    #[test]
    fn each_bound_is_held_against_what_was_measured() {
        let accept = Accept { p99_ms: Some(3.0), p999_ms: Some(5.0), rate_part: Some(0.99) };
        let mut verdicts = Vec::new();
        judge_kind(&mut verdicts, "reads", accept, &figures(), Some(1_000.0));
        assert_eq!(verdicts.iter().map(|verdict| verdict.is_kept).collect::<Vec<_>>(), [true, false, false]);
        assert!(!all_kept(&verdicts) && all_kept(&verdicts[..1]));
        let text = lines(&verdicts);
        assert!(text.contains("reads: p99 at most 3.00 ms; measured 2.90 ms of 1,000 requests"), "{text}");
        assert!(text.contains("MISSED      reads: at least 990/s; measured 950/s"), "{text}");
    }

    #[test]
    fn memory_is_shared_out_among_the_entities_there_are() {
        let bound = MemoryBound { names: "product".to_owned(), bytes_max: 500.0 };
        let verdict = judge_memory(&bound, 400_000_000, 540_000);
        assert!(!verdict.is_kept, "{verdict:?}");
        let text = lines(&[verdict]);
        assert!(text.contains("each product of the 540,000 there are"), "{text}");
        assert!(text.contains("at most 500 bytes; measured 741 bytes"), "{text}");
        assert!(judge_memory(&bound, 400_000_000, 1_000_000).is_kept);
        assert!(!judge_memory(&bound, 0, 0).is_kept);
    }

    #[test]
    fn a_kind_without_bounds_is_accepted() {
        let mut verdicts = Vec::new();
        judge_kind(&mut verdicts, "reads", Accept::default(), &figures(), None);
        assert!(verdicts.is_empty() && all_kept(&verdicts));
    }

    fn summary_of(file: &WorkloadFile, counts: &[u64]) -> Summary {
        let mut measured = Measured::new(file.request.len());
        for (kind, &count) in measured.kinds.iter_mut().zip(counts) {
            kind.record(1000, count);
            kind.requests = count;
        }
        let generator = ProcessUse { cpu_s: 0.0, rss_bytes: 1 };
        let machine = Machine { seconds: file.load.duration, server: None, generator };
        Summary::new(&measured, &file.workload(&file.request).unwrap(), machine)
    }

    #[test]
    fn a_scenario_scaled_down_until_no_ranking_falls_due_is_not_accepted_and_says_so() {
        let mut file = Scenario::Trending.file().unwrap().unwrap();
        assert_eq!(seldom(&file), Vec::<String>::new());
        let whole = judge(&file, &summary_of(&file, &[160_000, 200_000, 10]));
        assert!(all_kept(&whole), "{whole:?}");
        file.scale_rates(0.01);
        let before = seldom(&file);
        assert!(
            before[0].starts_with("ranking: 0.1 requests") && before[0].contains("-d 1000"),
            "{before:?}"
        );
        let verdicts = judge(&file, &summary_of(&file, &[1_600, 2_000, 0]));
        assert!(!all_kept(&verdicts));
        let text = lines(&verdicts);
        assert!(text.contains("UNMEASURED  ranking: at least one request"), "{text}");
        assert!(text.contains("none: 0.005/s for 20 s; measure longer (-d 1000)"), "{text}");
        assert!(all_kept(&judge(&file, &summary_of(&file, &[1_600, 2_000, 1]))));
    }

    #[test]
    fn a_bound_of_what_was_never_sent_is_not_kept() {
        let file = Scenario::RideDemand.file().unwrap().unwrap();
        let verdicts = judge(&file, &summary_of(&file, &[100_000, 0]));
        assert!(!all_kept(&verdicts) && lines(&verdicts).contains("UNMEASURED  reads"), "{verdicts:?}");
    }
}
