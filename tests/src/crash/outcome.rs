//! What a fault has come to over many tries: a row of the table.

use std::fmt;
use std::time::Duration;

use super::findings::Findings;
use super::load::{Crew, Load};
use crate::server::{Home, Server};

/// A row.
#[derive(Debug)]
pub struct Outcome {
    /// What was done to the server.
    pub fault: String,
    /// How often.
    pub tries: u64,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Events that were sent again after a restart or a refusal.
    pub retried: u64,
    /// Writes that were refused, or whose outcome was said to be unknown.
    pub refused: u64,
    /// Reads that were answered meanwhile.
    pub reads: u64,
    /// Snapshots that were begun meanwhile.
    pub snapshots: u64,
    /// Age of the oldest acknowledged operation that a power cut took back as the mode allows, at its connection's last answer.
    pub taken_back_age: Option<Duration>,
    /// What was found.
    pub findings: Findings,
}

impl Outcome {
    /// Of a fault that was not tried yet.
    pub fn new(fault: String) -> Outcome {
        Outcome {
            fault,
            tries: 0,
            acknowledged: 0,
            retried: 0,
            refused: 0,
            reads: 0,
            snapshots: 0,
            taken_back_age: None,
            findings: Findings::default(),
        }
    }

    /// Adds what a crew has done when its server's life is over.
    pub fn add_crew(&mut self, crew: &Crew) {
        let counts = crew.counts();
        self.acknowledged += counts.acknowledged;
        self.retried += counts.retried;
        self.refused += counts.refused + counts.unknown;
        self.reads += crew.reads();
        self.snapshots += crew.snapshots();
    }

    /// kill -9. A server that had ended by itself, or let a connection go, is found out.
    pub fn kill(&mut self, mut server: Server, load: Option<&Load>) -> Home {
        let has_lost_one = load.is_some_and(Load::has_lost_one);
        if !server.is_running() || has_lost_one {
            let log = server.home().log_tail();
            self.findings
                .wrong_answer(format!("the server ended, or a connection, before it was killed:\n{log}"));
        }
        server.kill()
    }

    /// The column titles of the rows.
    pub fn titles() -> &'static str {
        "| fault | tried | acknowledged | sent again | refused | images begun | taken back as allowed | lost | doubled | half applied |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    }

    /// For a test: every promise held, and the fault was no dry run.
    ///
    /// # Panics
    /// When not.
    pub fn assert_kept(&self) {
        assert_eq!(self.findings.total(), 0, "{self}\n{}", self.findings.notes().join("\n"));
        assert!(self.tries > 0 && self.acknowledged > 0, "nothing was tried: {self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { lost, doubled, half_applied, taken_back, .. } = self.findings;
        let Outcome { fault, tries, acknowledged, retried, refused, snapshots, .. } = self;
        write!(
            f,
            "| {fault} | {tries} | {acknowledged} | {retried} | {refused} | {snapshots} | {taken_back}"
        )?;
        if let Some(age) = self.taken_back_age {
            write!(f, " (of the last {} ms)", age.as_millis())?;
        }
        write!(f, " | {lost} | {doubled} | {half_applied} |")?;
        if self.findings.wrong_answers > 0 {
            write!(f, " and {} wrong answers", self.findings.wrong_answers)?;
        }
        Ok(())
    }
}
