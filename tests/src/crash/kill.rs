//! kill -9 at random moments, also during a start, with other settings and another number of shards at each restart; and on a disk that
//! is slow between the steps by which files are made and replaced, so that kills come between them.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::calls;
use super::entity::STREAM;
use super::findings::Findings;
use super::load::{Crew, Survives};
use super::outcome::Outcome;
use crate::server::{Home, Launch, StartError};

/// Kills of one data directory; then a new one is begun, so that starts stay short.
const KILLS_OF_A_LIFE: u64 = 25;
/// How long a load runs at most: long enough to be anywhere, short enough for hundreds.
const LOAD_MS_MAX: u64 = 300;
/// One restart in so many is killed several times before it may serve.
const BROKEN_STARTS: u32 = 4;
/// A broken start is killed after this at the latest.
const START_MS_MAX: u64 = 80;
/// Segment sizes: small ones are rotated within a load.
const SEGMENTS: [&str; 3] = ["1mb", "2mb", "64mb"];

/// One start in so many is on a slow disk, if calls can be traced here.
const SLOW: u32 = 4;
/// The calls by which files are made, replaced and made durable: each takes some milliseconds more.
const SLOW_DISK: [&str; 9] = [
    "strace",
    "-D",
    "-f",
    "-q",
    "-o",
    "/dev/null",
    "-e",
    "trace=fdatasync,fsync,/^rename,/^unlink,ftruncate,fallocate",
    "--inject=fdatasync,fsync,/^rename,/^unlink,ftruncate,fallocate:delay_exit=8000",
];

/// How to kill.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often.
    pub cycles: u64,
    /// Numbers of shards to choose from.
    pub shards: Vec<usize>,
    /// Values of `appendfsync` to choose from.
    pub modes: Vec<String>,
    /// Decides everything but the threads' timing.
    pub seed: u64,
}

/// Runs the plan.
pub fn run(plan: &Plan) -> Outcome {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let can_slow = calls::available().is_ok();
    let mut outcome = Outcome::new(format!("kill -9, appendfsync {}", plan.modes.join("/")));
    while outcome.tries < plan.cycles && outcome.findings.total() == 0 {
        let kills = KILLS_OF_A_LIFE.min(plan.cycles - outcome.tries);
        let mut life = Life {
            plan,
            random: &mut random,
            can_slow,
            crew: Some(Crew::new(plan.seed ^ outcome.tries)),
            outcome: &mut outcome,
        };
        if let Err(error) = life.run(kills) {
            let place = error.to_string();
            let kept = error.home.keep();
            outcome.findings.wrong_answer(format!("seed {}: {place}\nkept at {}", plan.seed, kept.display()));
        }
    }
    outcome
}

/// One data directory, from its first start to its end.
struct Life<'a> {
    plan: &'a Plan,
    random: &'a mut StdRng,
    can_slow: bool,
    crew: Option<Crew>,
    outcome: &'a mut Outcome,
}

impl Life<'_> {
    fn run(&mut self, kills: u64) -> Result<(), StartError> {
        let mut home = Home::new();
        for kill in 0..kills {
            if kill > 0 && self.random.random_ratio(1, BROKEN_STARTS) {
                for _ in 0..self.random.random_range(1..4) {
                    let after = Duration::from_millis(self.random.random_range(0..START_MS_MAX));
                    home = self.launch().try_start_and_kill_after(home, after)?;
                }
            }
            let launch = self.launch();
            let server = launch.try_start_in(home)?;
            let mut conn = server.connect();
            let mut crew = self.crew.take().expect("a crew between two loads");
            if kill == 0 {
                conn.ok(STREAM);
            } else {
                self.judge(&mut crew, &mut conn, kill);
            }
            if self.outcome.findings.total() > 0 {
                self.crew = Some(crew);
                return self.give_up(server.kill());
            }
            let load = crew.start(server.addr());
            std::thread::sleep(Duration::from_millis(self.random.random_range(1..LOAD_MS_MAX)));
            home = server.kill();
            self.crew = Some(load.finish());
            self.outcome.tries += 1;
        }
        // What is undecided is sent again to the end; then all of it counts exactly once, however the entities are dealt.
        for _ in 0..2 {
            let server = self.launch().try_start_in(home)?;
            let mut crew = self.crew.take().expect("a crew between two loads");
            let mut conn = server.connect();
            self.judge(&mut crew, &mut conn, kills);
            crew.settle(server.addr(), &mut self.outcome.findings);
            self.judge(&mut crew, &mut conn, kills);
            self.crew = Some(crew);
            home = server.kill();
        }
        if self.outcome.findings.total() > 0 {
            return self.give_up(home);
        }
        self.outcome.add_crew(self.crew.as_ref().expect("a crew between two loads"));
        Ok(())
    }

    fn judge(&mut self, crew: &mut Crew, conn: &mut crate::resp::Conn, kill: u64) {
        let mut findings = Findings::default();
        crew.judge(conn, Survives::Acknowledged, &mut findings);
        self.outcome
            .findings
            .add(findings, &format!("seed {}, after kill {kill} of a directory", self.plan.seed));
    }

    fn launch(&mut self) -> Launch {
        let shards = self.plan.shards[self.random.random_range(0..self.plan.shards.len())];
        let mode = &self.plan.modes[self.random.random_range(0..self.plan.modes.len())];
        let segment = SEGMENTS[self.random.random_range(0..SEGMENTS.len())];
        let launch =
            Launch::shards(shards).option("--appendfsync", mode).option("--log-segment-bytes", segment);
        if self.can_slow && self.random.random_ratio(1, SLOW) { launch.under(&SLOW_DISK) } else { launch }
    }

    /// The directory stays for whoever looks into it.
    fn give_up(&mut self, home: Home) -> Result<(), StartError> {
        self.outcome.findings.note(format!("the directory is kept at {}", home.keep().display()));
        Ok(())
    }
}
