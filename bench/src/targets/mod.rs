//! The targets that Windrow is measured by, each as a ratio or a bound, in one run.
//!
//! | file | rows |
//! | --- | --- |
//! | `rates` | C1 to C5: rates of events and reads |
//! | `open_loop` | C6: latency of reads beside a load of events |
//! | `memory` | C7: bytes an entity |
//! | `growth` | C8: cost an event, longest tick and bytes of many entities |
//! | `shards` | C9: two shards against one |
//! | `idle` | C10: idle connections |
//! | `durability` | D1 to D3: the log, a snapshot under load, a start |
//! | `finding` | what a row found out, and whether its target is reached |
//! | `session` | servers, and measuring them in turns |

mod durability;
mod finding;
mod growth;
mod idle;
mod memory;
mod open_loop;
mod rates;
mod session;
mod shards;

pub use finding::{Bound, Finding, Percentile, Reading, Row, Unit};

use crate::compare::place;
use crate::contender::{Contender, Programs};
use crate::error::BenchError;
use crate::run::Load;
use crate::server_process;
use crate::workload::{FILL_BUCKETS, STREAM_DEFINITION};
use serde::Serialize;
use session::{Member, Session};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rows, in any order.
    pub rows: Vec<Row>,
    /// Rounds of each line.
    pub rounds: usize,
    /// Entities, connections, times; each row sets its own mode and pipeline.
    pub load: Load,
    /// Entities of rows C8, D2, D3 and capacity.
    pub large_entities: u64,
    /// Buckets that each of these has an event in, in rows D2 and D3.
    pub large_buckets: u64,
    /// Idle connections of row C10.
    pub idle_connections: usize,
    /// What the rates of the open loop of row C6 are multiplied with.
    pub open_loop_scale: f64,
    /// What to start.
    pub programs: Programs,
    /// The core that servers are bound to, and the generator stays off; none: all share what there is.
    pub server_core: Option<usize>,
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What was done.
    pub setup: String,
    /// Which products and versions the servers said they are; one that was started again is there again.
    pub identities: Vec<String>,
    /// What ended it before all was measured, if anything did.
    pub ended_by: Option<String>,
    /// By row.
    pub findings: Vec<Finding>,
    /// Wrong replies: figures that do not count.
    pub complaints: Vec<String>,
}

impl Outcome {
    /// Nothing yet.
    pub fn of(plan: &Plan) -> Self {
        Self {
            setup: plan.describe(),
            identities: Vec::new(),
            ended_by: None,
            findings: Vec::new(),
            complaints: Vec::new(),
        }
    }

    /// Every reply came and was right.
    pub fn is_clean(&self) -> bool {
        self.complaints.is_empty()
    }

    /// Every target was measured, and reached.
    pub fn is_reached(&self) -> bool {
        self.findings.iter().all(|finding| finding.bound.is_none() || finding.reached == Some(true))
    }
}

impl Plan {
    /// What is done, in a sentence for above the table.
    pub fn describe(&self) -> String {
        let load = &self.load;
        let mut text = format!(
            "{} connections, {} entities, all {FILL_BUCKETS} buckets full, keys of {} bytes, stream {STREAM_DEFINITION}; \
             medians of {} rounds of {:?} in turns (least–greatest); servers on {}; Windrow --shards 1 --appendfsync \
             everysec {}; Redis --save \"\" --appendonly no {}",
            load.connections,
            load.entities,
            load.key_bytes,
            self.rounds,
            load.duration,
            place(self.server_core),
            self.programs.windrow_args.join(" "),
            self.programs.redis_args.join(" ")
        );
        text.truncate(text.trim_end().len());
        if !self.programs.ts_module.is_empty() {
            text.push_str(&format!("; ts loads {}", self.programs.ts_module.join(" ")));
        }
        text
    }

    fn check(&self) -> Result<(), BenchError> {
        let complain = |text: String| Err(BenchError::Settings(text));
        if self.rounds == 0 || self.rows.is_empty() {
            return complain("the targets need at least one round and one row".to_owned());
        }
        if !(1..=FILL_BUCKETS).contains(&self.large_buckets) {
            return complain(format!("{} buckets; a stream has 1 to {FILL_BUCKETS}", self.large_buckets));
        }
        if !(self.open_loop_scale.is_finite() && self.open_loop_scale > 0.0) {
            return complain(format!("a scale of {} for the open loop", self.open_loop_scale));
        }
        self.load.check()?;
        Load { entities: self.large_entities, ..self.load.clone() }.check()?;
        Ok(())
    }
}

/// Measures the rows of a plan; what is found is in the outcome, whatever becomes of the rows after it.
///
/// # Errors
///
/// A server does not start, or a run fails. Wrong replies are in the outcome.
pub fn run(plan: &Plan, outcome: &mut Outcome) -> Result<(), BenchError> {
    plan.check()?;
    // Others are started and filled before it, for minutes.
    server_process::find("windrow", &plan.programs.windrow_bin)?;
    let mut session = Session::new(plan)?;
    let measured = measure(plan, &mut session);
    session.findings.sort_by_key(|finding| finding.row);
    (outcome.findings, outcome.complaints) = (session.findings, session.complaints);
    outcome.identities = session.identities;
    measured
}

fn measure(plan: &Plan, session: &mut Session<'_>) -> Result<(), BenchError> {
    let asks = |row: Row| plan.rows.contains(&row);
    if asks(Row::C7) {
        memory::measure_few_buckets(session)?;
    }
    if plan.rows.iter().any(|row| row.is_side_by_side()) {
        measure_side_by_side(session)?;
    }
    if asks(Row::C10) {
        idle::measure(session)?;
    }
    if asks(Row::C8) {
        growth::measure(session)?;
    }
    if asks(Row::D1) {
        durability::measure_log(session)?;
    }
    if asks(Row::D2) || asks(Row::D3) || asks(Row::Capacity) {
        durability::measure_images(session)?;
    }
    Ok(())
}

/// The rows that share one set of filled servers. Memory and reads come first: later on, some buckets are older than
/// the window, and events have made the sorted sets longer.
fn measure_side_by_side(session: &mut Session<'_>) -> Result<(), BenchError> {
    let plan = session.plan;
    let mut needed = rates::contenders(&plan.rows);
    if plan.rows.contains(&Row::C6) {
        for contender in open_loop::CONTENDERS {
            if !needed.contains(&contender) {
                needed.push(contender);
            }
        }
    }
    let mut others: Vec<Result<Member, (Contender, String)>> = Vec::new();
    for contender in needed {
        let member = session.start(contender, &[])?;
        if let Ok(member) = &member {
            session.fill(member, &plan.load, FILL_BUCKETS)?;
        }
        others.push(member.map_err(|why| (contender, why)));
    }
    // The last, so that its 60 buckets are the newest when reads begin.
    let windrow = session.start_windrow(1, &[])?;
    session.fill(&windrow, &plan.load, FILL_BUCKETS)?;
    if plan.rows.contains(&Row::C7) {
        memory::note_full_records(session, &windrow)?;
    }
    for row in [Row::C4, Row::C5, Row::C6, Row::C1, Row::C2, Row::C3, Row::C9] {
        match row {
            _ if !plan.rows.contains(&row) => {}
            Row::C5 => rates::measure_mget(session, &windrow)?,
            Row::C6 => open_loop::measure(session, &windrow, &others)?,
            Row::C9 => shards::measure(session, &windrow)?,
            row => rates::measure(session, row, &windrow, &others)?,
        }
    }
    Ok(())
}

/// The findings as a Markdown table, and how many targets are reached.
pub fn table(findings: &[Finding]) -> String {
    let mut text = String::from(
        "| row | workload | Windrow /s (per CPU-second) | against | its own | measured | target | reached |\n\
         | --- | --- | ---: | --- | ---: | ---: | ---: | --- |\n",
    );
    for finding in findings {
        text.push_str(&finding.line());
        text.push('\n');
    }
    let count = |reached| findings.iter().filter(|finding| finding.reached == Some(reached)).count();
    text.push_str(&format!(
        "\nRatios are of rates per CPU-second of the server, or of latencies. {} targets reached, {} not.\n",
        count(true),
        count(false)
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::Spread;

    #[test]
    fn what_is_missed_or_was_not_measured_is_not_reached() {
        let finding = |measured: Option<f64>, bound| {
            let measured = measured.and_then(|number| Spread::of(&[number]));
            Finding::value(Row::Capacity, "bytes", Unit::Bytes, measured, bound)
        };
        let bound = Some(Bound::AtMost(10.0));
        for (measured, bound, expected) in [
            (Some(9.0), bound, true),
            (Some(11.0), bound, false),
            (None, bound, false),
            (Some(11.0), None, true),
        ] {
            let findings = vec![finding(Some(1.0), Some(Bound::AtLeast(1.0))), finding(measured, bound)];
            let (setup, identities) = (String::new(), Vec::new());
            let outcome = Outcome { setup, identities, ended_by: None, findings, complaints: Vec::new() };
            assert_eq!(outcome.is_reached(), expected, "{measured:?} against {bound:?}");
        }
    }
}
