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
use crate::resp::{Conn, Reply};
use crate::server::{Home, Launch, Server, StartError};

/// Kills of one data directory; then a new one is begun, so that starts stay short.
const KILLS_OF_A_LIFE: u64 = 25;
/// How long a load runs at most: long enough to be anywhere, short enough for hundreds.
const LOAD_MS_MAX: u64 = 300;
/// One restart in so many is killed several times before it may serve.
const BROKEN_STARTS: u32 = 4;
/// One load in so many ends with FLUSHALL, which is killed within this time.
const FLUSHES: u32 = 12;
const FLUSH_MS_MAX: u64 = 15;
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
        let mut life = Life { plan, random: &mut random, can_slow, outcome: &mut outcome };
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
    outcome: &'a mut Outcome,
}

impl Life<'_> {
    fn run(&mut self, kills: u64) -> Result<(), StartError> {
        let mut home = Home::new();
        let mut crew = Crew::new(self.plan.seed ^ self.outcome.tries);
        for kill in 0..kills {
            if kill > 0 {
                home = self.before_start(home)?;
            }
            let server = self.launch().try_start_in(home)?;
            if kill == 0 {
                server.connect().ok(STREAM);
            } else {
                self.judge(&mut crew, &server, kill);
            }
            if self.outcome.findings.total() == 0 {
                (home, crew) = self.load_and_kill(server, crew);
                self.outcome.tries += 1;
            } else {
                home = server.kill();
            }
            if self.outcome.findings.total() > 0 {
                return self.give_up(home, &crew);
            }
        }
        // What is undecided is sent again to the end; then all of it counts exactly once, however the entities are dealt.
        for _ in 0..2 {
            let server = self.launch().try_start_in(home)?;
            self.judge(&mut crew, &server, kills);
            crew.settle(server.addr(), &mut self.outcome.findings);
            self.judge(&mut crew, &server, kills);
            home = self.outcome.kill(server, None);
        }
        if self.outcome.findings.total() > 0 {
            return self.give_up(home, &crew);
        }
        self.outcome.add_crew(&crew);
        Ok(())
    }

    /// Starts that are killed before they may serve.
    fn before_start(&mut self, mut home: Home) -> Result<Home, StartError> {
        if self.random.random_ratio(1, BROKEN_STARTS) {
            for _ in 0..self.random.random_range(1..4) {
                let after = Duration::from_millis(self.random.random_range(0..START_MS_MAX));
                home = self.launch().try_start_and_kill_after(home, after)?;
            }
        }
        Ok(home)
    }

    fn load_and_kill(&mut self, server: Server, crew: Crew) -> (Home, Crew) {
        let load = crew.start(server.addr());
        std::thread::sleep(Duration::from_millis(self.random.random_range(1..LOAD_MS_MAX)));
        if !self.random.random_ratio(1, FLUSHES) {
            let home = self.outcome.kill(server, Some(&load));
            return (home, load.finish());
        }
        let mut crew = load.finish();
        // It takes the memory of ids and sources too: what is sent again must have been, before it.
        crew.settle(server.addr(), &mut self.outcome.findings);
        let flush = {
            let addr = server.addr();
            std::thread::spawn(move || {
                matches!(
                    Conn::open(addr).and_then(|mut conn| conn.try_args(&[b"FLUSHALL"])),
                    Ok(Reply::Simple(_))
                )
            })
        };
        std::thread::sleep(Duration::from_millis(self.random.random_range(0..FLUSH_MS_MAX)));
        let home = self.outcome.kill(server, None);
        crew.flushed(flush.join().unwrap_or(false));
        (home, crew)
    }

    fn judge(&mut self, crew: &mut Crew, server: &Server, kill: u64) {
        let mut findings = Findings::default();
        crew.judge(&mut server.connect(), Survives::Acknowledged, &mut findings);
        self.outcome
            .findings
            .add(findings, &format!("seed {}, after kill {kill} of a directory", self.plan.seed));
    }

    fn launch(&mut self) -> Launch {
        let shards = self.plan.shards[self.random.random_range(0..self.plan.shards.len())];
        let mode = &self.plan.modes[self.random.random_range(0..self.plan.modes.len())];
        let segment = SEGMENTS[self.random.random_range(0..SEGMENTS.len())];
        // Log that no start needs goes at once, or stays; images by the clock too, or only when asked for.
        let retention = ["0s", "1d"][self.random.random_range(0..2)];
        let save = ["0", "1"][self.random.random_range(0..2)];
        let launch = Launch::shards(shards)
            .option("--appendfsync", mode)
            .option("--log-segment-bytes", segment)
            .option("--log-retention", retention)
            .option("--save", save);
        if self.can_slow && self.random.random_ratio(1, SLOW) { launch.under(&SLOW_DISK) } else { launch }
    }

    /// The directory stays for whoever looks into it.
    fn give_up(&mut self, home: Home, crew: &Crew) -> Result<(), StartError> {
        self.outcome.add_crew(crew);
        self.outcome.findings.note(format!("the directory is kept at {}", home.keep().display()));
        Ok(())
    }
}
