//! Servers of a run of the targets: started on their core, filled, and measured in turns.

use super::{Finding, Plan, Row};
use crate::contender::{Contender, SHARED_CORE, identity, missing, server};
use crate::control::Control;
use crate::cpu;
use crate::error::BenchError;
use crate::measure::Summary;
use crate::progress::say;
use crate::report::counted;
use crate::run::{self, Load, Server};
use crate::server_process::ServerProcess;
use crate::spread::Spread;
use crate::turns::in_turns;
use crate::workload::Mode;
use std::time::Instant;

/// A server that takes part.
pub(super) struct Member {
    pub contender: Contender,
    /// Its name in lines of progress.
    title: String,
    pub server: Server,
    /// Resident memory before there was any entity.
    pub rss_empty_bytes: u64,
    process: ServerProcess,
}

impl Member {
    /// Resident memory now.
    pub fn rss_bytes(&self) -> Result<u64, BenchError> {
        cpu::resident_bytes(self.process.pid())
    }

    /// Resident memory that came with so many entities, for each of them.
    pub fn bytes_an_entity(&self, entities: u64) -> Result<f64, BenchError> {
        #[expect(clippy::cast_precision_loss, reason = "memory and counts are below 2^53")]
        Ok(self.rss_bytes()?.saturating_sub(self.rss_empty_bytes) as f64 / entities as f64)
    }

    /// The process itself.
    pub fn process_mut(&mut self) -> &mut ServerProcess {
        &mut self.process
    }

    /// A number of INFO.
    pub fn info(&self, name: &str) -> Result<f64, BenchError> {
        let text = self.ask(&["INFO", "everything"])?;
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
        line.ok_or_else(|| BenchError::Server(format!("INFO has no number {name}")))
    }

    /// Sends a command and waits for its reply, which must not be an error.
    pub fn ask(&self, args: &[&str]) -> Result<String, BenchError> {
        Control::connect(&self.server.addr, &self.server.greeting)?.expect(args)
    }
}

/// Whom to measure in a turn, and how.
pub(super) struct Entrant<'a> {
    pub member: &'a Member,
    pub mode: Mode,
    pub load: Load,
}

/// A run of the targets.
pub(super) struct Session<'a> {
    pub plan: &'a Plan,
    pub findings: Vec<Finding>,
    pub complaints: Vec<String>,
    /// What the servers said they are.
    pub identities: Vec<String>,
    core: Option<usize>,
    started: Instant,
}

impl<'a> Session<'a> {
    /// Takes the generator off the servers' core, if there is another.
    pub fn new(plan: &'a Plan) -> Result<Self, BenchError> {
        let core = plan.server_core;
        match core {
            Some(core) => cpu::pin_away_from(core)?,
            None => say(SHARED_CORE),
        }
        Ok(Self {
            plan,
            findings: Vec::new(),
            complaints: Vec::new(),
            identities: Vec::new(),
            core,
            started: Instant::now(),
        })
    }

    /// Says what is being done.
    pub fn say(&self, text: &str) {
        say(&format!("[{:>4} s] {text}", self.started.elapsed().as_secs()));
    }

    /// Starts a server, Windrow with `more` arguments; the error is why it cannot take part.
    pub fn start(
        &mut self,
        contender: Contender,
        more: &[&str],
    ) -> Result<Result<Member, String>, BenchError> {
        self.say(&format!("start {} {}", contender.title(), more.join(" ")));
        let more: Vec<String> = more.iter().map(|&arg| arg.to_owned()).collect();
        let process = self.plan.programs.start(contender, self.core, &more)?;
        let server = server(contender, &process);
        if let Some(identity) = identity(contender, &server)? {
            self.say(&format!("{}: {identity}", contender.title()));
            self.identities.push(identity);
        }
        if let Some(why) = missing(contender, &server)? {
            self.say(&format!("{} is left out: {why}", contender.title()));
            return Ok(Err(why));
        }
        run::prepare(&server)?;
        let rss_empty_bytes = cpu::resident_bytes(process.pid())?;
        let title = contender.title().to_owned();
        Ok(Ok(Member { contender, title, server, rss_empty_bytes, process }))
    }

    /// Starts a Windrow server of so many shards.
    pub fn start_windrow(&mut self, shards: usize, more: &[&str]) -> Result<Member, BenchError> {
        let shards = shards.to_string();
        let args = [&["--shards", &shards, "--appendfsync", "everysec"][..], more].concat();
        let mut member = self.start(Contender::Windrow, &args)?.map_err(BenchError::Server)?;
        if shards != "1" {
            member.title = format!("Windrow of {shards} shards");
        }
        Ok(member)
    }

    /// Gives each entity an event in its newest `buckets`; what the null responder does not need.
    pub fn fill(&self, member: &Member, load: &Load, buckets: u64) -> Result<Option<Summary>, BenchError> {
        let Some(mode) = member.contender.mode(Mode::Events).filter(|_| member.contender != Contender::Null)
        else {
            return Ok(None);
        };
        let title = &member.title;
        self.say(&format!("fill {title}: {} entities, {buckets} buckets", load.entities));
        let filled = run::fill(&member.server, mode, load, buckets)?;
        if !run::settle(&member.server)? {
            self.say(&format!("{title} is still busy with its fill"));
        }
        self.say(&format!("{title} is filled, {:.0} events/s", filled.total.rate_per_s));
        Ok(Some(filled))
    }

    /// Measures in turns, A B A B …: the rounds of each entrant.
    pub fn turns(
        &mut self,
        row: Row,
        workload: &str,
        entrants: &[Entrant<'_>],
    ) -> Result<Vec<Vec<Summary>>, BenchError> {
        in_turns(self.plan.rounds, entrants.len(), |round, at| {
            self.measure(row, workload, round, &entrants[at])
        })
    }

    /// One round of one entrant.
    pub fn measure(
        &mut self,
        row: Row,
        workload: &str,
        round: usize,
        entrant: &Entrant<'_>,
    ) -> Result<Summary, BenchError> {
        let title = &entrant.member.title;
        let seed = entrant.load.seed.wrapping_add(round as u64);
        let load = Load { seed, ..entrant.load.clone() };
        let summary = run::measure(&entrant.member.server, entrant.mode, &load)?;
        self.say(&format!(
            "{row} {workload}, round {} of {}, {title}, {} entities: {:.0} /s, p99 {:.0} µs",
            round + 1,
            self.plan.rounds,
            load.entities,
            summary.total.rate_per_s,
            summary.total.latency.p99_us
        ));
        if !summary.is_clean() {
            let first = summary.first_error.as_deref().unwrap_or("none");
            self.complaints.push(format!(
                "{row} {workload} on {title}: {}, {} missing; the first: {first}",
                counted(summary.errors, "reply", "replies"),
                summary.lost
            ));
        }
        if summary.overload.is_some() {
            self.say(&format!(
                "{row} {workload} on {title}: it did not keep up; latencies are at least these"
            ));
        }
        if summary.unfinished > 0 && !run::settle(&entrant.member.server)? {
            self.say(&format!("{title} is still busy with what it was asked"));
        }
        Ok(summary)
    }
}

/// One number as a spread.
pub(super) fn once(number: f64) -> Option<Spread> {
    Spread::of(&[number])
}
