//! Keys of a workload file that are right by themselves, and would do nothing where they stand.

use super::{CommandName, RequestPlan, WorkloadFile};
use crate::error::BenchError;
use crate::models::TimeModel;

/// Refuses the first of them.
pub(super) fn refuse(file: &WorkloadFile) -> Result<(), BenchError> {
    let is_closed = file.request.iter().all(|request| request.rate.is_none());
    for fill in &file.fill {
        if let Some(complaint) = in_fill(fill).or_else(|| in_either(fill)) {
            return Err(BenchError::Settings(format!("fill {}: {complaint}", fill.name)));
        }
    }
    for request in &file.request {
        let bounds_rate = request.accept.is_some_and(|accept| accept.rate_part.is_some());
        let complaint = (is_closed && bounds_rate)
            .then_some("accept.rate_part is a part of a rate, and a closed loop has none");
        if let Some(complaint) = complaint.or_else(|| in_either(request)) {
            return Err(BenchError::Settings(format!("request {}: {complaint}", request.name)));
        }
    }
    let is_idle = [("arrivals", file.load.arrivals.is_some()), ("ramp", file.load.ramp > 0.0)];
    if let Some((key, _)) = is_idle.iter().find(|(_, is_given)| is_closed && *is_given) {
        return Err(BenchError::Settings(format!(
            "load.{key}: it is of rates, and a closed loop has none; give each [[request]] a rate, or take it out"
        )));
    }
    Ok(())
}

fn in_fill(fill: &RequestPlan) -> Option<&'static str> {
    match fill {
        RequestPlan { accept: Some(_), .. } => Some("a fill is not measured; accept is of a [[request]]"),
        RequestPlan { share: Some(_), .. } => Some("each fill is sent by itself; share is of a [[request]]"),
        _ => None,
    }
}

fn in_either(plan: &RequestPlan) -> Option<&'static str> {
    let RequestPlan { command, time, options, repeats, .. } = plan;
    let is_read = matches!(command, CommandName::Get | CommandName::Mget | CommandName::Top);
    if *command == CommandName::Top && (!options.is_empty() || !repeats) {
        return Some("top names no entities and takes no further words: it has neither repeats nor options");
    }
    if is_read && *time != TimeModel::default() {
        return Some("a read has no time");
    }
    let late = time.late_mean_ms > 0.0 || time.late_max_ms > 0.0;
    if late != (time.late_share > 0.0) {
        return Some("time: late_share goes with late_mean_ms or late_max_ms, each above 0");
    }
    if (time.ahead_max_ms > 0.0) != (time.ahead_share > 0.0) {
        return Some("time: ahead_share goes with ahead_max_ms, each above 0");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "title = 't'\n[names.e]\ncount = 100\nprefix = 'e'\nbytes = 3\n\
        [[fill]]\nname = 'f'\ncommand = 'add'\nstream = 's'\nentities = 'e'\nrequests = 5\n#fill\n\
        [[request]]\nname = 'r'\ncommand = 'add'\nstream = 's'\nentities = 'e'\nrate = 5\n#event\n\
        [[request]]\nname = 'g'\ncommand = 'get'\nstream = 's'\nentities = 'e'\nfeatures = ['count:1h']\nrate = 5\n#read\n\
        [[request]]\nname = 'k'\ncommand = 'top'\nstream = 's'\nentities = 'e'\nfeatures = ['count:1h']\nrate = 5\n#top\n\
        [load]\n#load\n";

    #[test]
    fn a_key_that_would_do_nothing_is_refused_with_its_place() {
        let closed = OPEN.replace("rate = 5\n", "");
        assert!(WorkloadFile::parse(OPEN).is_ok() && WorkloadFile::parse(&closed).is_ok());
        for (text, place, key, expected) in [
            (OPEN, "#fill", "accept = { p99_ms = 1 }", "fill f: a fill is not measured"),
            (OPEN, "#fill", "share = 1", "fill f: each fill"),
            (OPEN, "#fill", "time = { late_mean_ms = 5 }", "fill f: time: late_share"),
            (OPEN, "#event", "time = { late_max_ms = 5 }", "request r: time: late_share"),
            (OPEN, "#event", "time = { late_share = 0.5 }", "request r: time: late_share"),
            (OPEN, "#event", "time = { ahead_share = 0.5 }", "request r: time: ahead_share"),
            (OPEN, "#event", "time = { ahead_max_ms = 5 }", "request r: time: ahead_share"),
            (OPEN, "#read", "time = { late_share = 0.5, late_mean_ms = 5 }", "request g: a read has no time"),
            (OPEN, "#top", "options = ['HOP', '30s']", "request k: top"),
            (OPEN, "#top", "repeats = false", "request k: top"),
            (OPEN, "#load", "connections = 1\nthreads = 2", "2 threads for 1 connections"),
            (OPEN, "#event", "connections = 0", "each needs one"),
            (&closed, "#event", "accept = { rate_part = 0.9 }", "request r: accept.rate_part"),
            (&closed, "#load", "arrivals = 'poisson'", "load.arrivals"),
            (&closed, "#load", "ramp = 1.0", "load.ramp"),
        ] {
            let error = WorkloadFile::parse(&text.replace(place, key)).expect_err(key).to_string();
            assert!(error.contains(expected), "{key}: {error}");
        }
    }

    #[test]
    fn keys_that_do_something_are_taken() {
        for (place, key) in [
            ("#event", "time = { late_share = 0.5, late_max_ms = 5, ahead_share = 0.1, ahead_max_ms = 5 }"),
            ("#event", "accept = { rate_part = 0.9 }"),
            ("#read", "options = ['HOP', '30s']\nrepeats = false"),
            ("#load", "arrivals = 'constant'\nramp = 1.0"),
        ] {
            WorkloadFile::parse(&OPEN.replace(place, key)).expect(key);
        }
    }

    /// Examples that the manual has in comments: their lines are indented by three.
    #[test]
    fn what_the_manual_shows_in_comments_is_right_too() {
        let manual = include_str!("../../workloads/fraud.toml");
        let examples = manual.lines().filter_map(|line| line.strip_prefix("#   "));
        let examples: Vec<&str> =
            examples.filter(|line| line.starts_with('[') || line.contains(" = ")).collect();
        let file = WorkloadFile::parse(&format!("{manual}\n{}\n", examples.join("\n"))).unwrap();
        assert!(file.fill[0].order.is_some() && file.memory.is_some());
    }
}
