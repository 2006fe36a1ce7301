//! A power cut: the file system under the data directory goes, with all that was not synced; its journal is replayed, the server restarts.
//!
//! The disk behind it keeps what it was given. That a disk loses or reorders what it was not told to flush is the simulator's part.

use std::io;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::calls;
use super::entity::STREAM;
use super::findings::Findings;
use super::load::{Crew, Survives};
use super::mount::{Cut, Kind, Mount};
use super::outcome::Outcome;
use crate::server::{Home, Launch, Server, StartError};

/// Smallest file systems that mkfs makes and several loads fit on.
const EXT4_BYTES: u64 = 256 << 20;
const XFS_BYTES: u64 = 320 << 20;
/// Cuts of one file system; then a new one is made, so that it does not fill.
const CUTS_OF_A_LIFE: u64 = 5;
/// Under `everysec` a load outlasts the promise, else it only has to be under way.
const LOAD_MS: [std::ops::Range<u64>; 2] = [20..600, 1300..2300];
/// After one cut in so many, the next start is cut too.
const BROKEN_STARTS: u32 = 3;
/// In one cut in so many, syncs take long before it.
const SLOW_SYNCS: u32 = 2;
/// How long that start has at most.
const START_MS_MAX: u64 = 120;
/// Segments that are rotated within a load, and leave room for many.
const SEGMENT: &str = "1mb";

/// What to cut, how often.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The file system.
    pub kind: Kind,
    /// `appendfsync` of the server.
    pub mode: String,
    /// The mode whose promises are looked for: the server's own, but for a test of the ledger itself.
    pub promised: String,
    /// How often.
    pub cuts: u64,
    /// Numbers of shards to choose from.
    pub shards: Vec<usize>,
    /// Decides everything but the threads' timing.
    pub seed: u64,
}

/// Runs the plan. Fails where the machine does not do what [`mount::available`](super::mount::available) found it to do.
pub fn run(plan: &Plan) -> io::Result<Outcome> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut outcome = Outcome::new(format!("power cut of {}, appendfsync {}", plan.kind.name(), plan.mode));
    while outcome.tries < plan.cuts && outcome.findings.total() == 0 {
        let mount = Mount::new(plan.kind, if plan.kind == Kind::Xfs { XFS_BYTES } else { EXT4_BYTES })?;
        let home = Home::with_data(mount.point().join("data"));
        let crew = Crew::new(plan.seed ^ outcome.tries);
        let cuts = CUTS_OF_A_LIFE.min(plan.cuts - outcome.tries);
        let mut life = Life { plan, random: &mut random, mount: &mount, cut: None, outcome: &mut outcome };
        match life.run(home, crew, cuts)? {
            Ok(()) => {}
            Err(error) => outcome.findings.wrong_answer(format!("seed {}: {error}", plan.seed)),
        }
    }
    Ok(outcome)
}

struct Life<'a> {
    plan: &'a Plan,
    random: &'a mut StdRng,
    mount: &'a Mount,
    /// When the power went last.
    cut: Option<Instant>,
    outcome: &'a mut Outcome,
}

/// What comes before the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The server is under load.
    Load,
    /// It was asked to stop under load, and has: what it acknowledged is synced, in every mode.
    Stop,
    /// It was killed under load, and another had started: what that one found is synced, in every mode.
    Restart,
}

impl Life<'_> {
    fn run(&mut self, mut home: Home, mut crew: Crew, cuts: u64) -> io::Result<Result<(), StartError>> {
        for cut in 0..cuts {
            let before = if cut == 0 || self.random.random_ratio(1, 2) {
                Before::Load
            } else {
                [Before::Stop, Before::Restart][self.random.random_range(0..2)]
            };
            let ended = match self.until_cut(home, crew, before, cut == 0)? {
                Ok(ended) => ended,
                Err(error) => return Ok(Err(error)),
            };
            (home, crew) = ended;
            self.outcome.tries += 1;
            self.mount.come_back()?;
            if self.random.random_ratio(1, BROKEN_STARTS) {
                home = self.cut_start(home)?;
            }
            let server = match self.launch().try_start_in(home) {
                Ok(server) => server,
                Err(error) => return Ok(Err(error)),
            };
            self.judge(&mut crew, &server, before);
            // What is sent again after a cut counts once too.
            crew.settle(server.addr(), &mut self.outcome.findings);
            self.judge_all(&mut crew, &server, "sent again after the cut");
            home = self.outcome.kill(server, None);
            if self.outcome.findings.total() > 0 {
                break;
            }
        }
        self.outcome.add_crew(&crew);
        Ok(Ok(()))
    }

    /// A load, and what follows it until the power is gone.
    fn until_cut(
        &mut self,
        home: Home,
        crew: Crew,
        before: Before,
        is_first: bool,
    ) -> io::Result<Result<(Home, Crew), StartError>> {
        let slow_ms = self.slow_sync().filter(|_| before == Before::Load && calls::available().is_ok());
        let launch = match slow_ms {
            // One log: then what a connection is acknowledged is in the order of the log, and so is what may be lost.
            Some(_) => self.launch_with(1),
            None => self.launch(),
        };
        let server = match launch.try_start_in(home) {
            Ok(server) => server,
            Err(error) => return Ok(Err(error)),
        };
        if is_first {
            server.connect().ok(STREAM);
        }
        let load = crew.start(server.addr());
        let load_ms = LOAD_MS[usize::from(self.plan.mode == "everysec")].clone();
        std::thread::sleep(Duration::from_millis(self.random.random_range(load_ms)));
        let injection = match slow_ms {
            Some(slow_ms) => {
                let fault = format!("delay_enter={}", 1000 * slow_ms);
                let injection = calls::Injection::start(&server, "fdatasync", &fault)?;
                std::thread::sleep(Duration::from_millis(self.random.random_range(slow_ms..3 * slow_ms)));
                Some(injection)
            }
            None => None,
        };
        load.is_over();
        let (home, crew) = match before {
            Before::Load => {
                self.cut_power()?;
                (self.outcome.kill(server, Some(&load)), load.finish())
            }
            Before::Stop => {
                let home = server.stop();
                self.cut_power()?;
                (home, load.finish())
            }
            Before::Restart => {
                let home = self.outcome.kill(server, Some(&load));
                let mut crew = load.finish();
                let server = match self.launch().try_start_in(home) {
                    Ok(server) => server,
                    Err(error) => return Ok(Err(error)),
                };
                self.judge_all(&mut crew, &server, "killed before the cut");
                self.cut_power()?;
                (self.outcome.kill(server, None), crew)
            }
        };
        drop(injection);
        Ok(Ok((home, crew)))
    }

    /// By how much each sync is held up before the cut, in some cuts: so much can be acknowledged or shown too early.
    fn slow_sync(&mut self) -> Option<u64> {
        let slow_ms = match self.plan.mode.as_str() {
            "always" => 40,
            "everysec" => 1400,
            _ => return None,
        };
        self.random.random_ratio(1, SLOW_SYNCS).then_some(slow_ms)
    }

    /// The power goes again, while the server reads its log.
    fn cut_start(&mut self, home: Home) -> io::Result<Home> {
        let server = self.launch().begin(home);
        std::thread::sleep(Duration::from_millis(self.random.random_range(0..START_MS_MAX)));
        let first_cut = self.cut;
        self.cut_power()?;
        self.cut = first_cut;
        let home = server.kill();
        self.mount.come_back()?;
        Ok(home)
    }

    fn cut_power(&mut self) -> io::Result<()> {
        self.cut = Some(Instant::now());
        self.mount.cut_power([Cut::WithoutJournal, Cut::AfterJournal][self.random.random_range(0..2)])
    }

    fn judge(&mut self, crew: &mut Crew, server: &Server, before: Before) {
        let survives = match (before, self.plan.promised.as_str()) {
            (Before::Stop | Before::Restart, _) => Survives::Acknowledged,
            (Before::Load, "always") => Survives::Shown,
            (Before::Load, "everysec") => Survives::UpToLastSecond,
            (Before::Load, _) => Survives::AnyPrefix,
        };
        let last = crew.last_acknowledged().unwrap_or_else(Instant::now);
        let mut findings = Findings::default();
        crew.judge(&mut server.connect(), survives, &mut findings);
        if let (Some((first, lost_last)), Some(cut)) = (findings.lost_between, self.cut) {
            let before = |moment: Instant| cut.saturating_duration_since(moment).as_millis();
            findings.note_first(server.home().log_tail());
            findings.note_first(format!(
                "lost: acknowledged from {} to {} ms before the cut; the last answer came {} ms before it",
                before(first),
                before(lost_last),
                before(last)
            ));
        }
        if let Some(oldest) = findings.oldest_taken_back {
            let age = last.saturating_duration_since(oldest);
            self.outcome.taken_back_age = self.outcome.taken_back_age.max(Some(age));
        }
        self.outcome.findings.add(findings, &format!("seed {}, power cut after {before:?}", self.plan.seed));
    }

    fn judge_all(&mut self, crew: &mut Crew, server: &Server, when: &str) {
        let mut findings = Findings::default();
        crew.judge(&mut server.connect(), Survives::Acknowledged, &mut findings);
        self.outcome.findings.add(findings, &format!("seed {}, {when}", self.plan.seed));
    }

    fn launch(&mut self) -> Launch {
        let shards = self.plan.shards[self.random.random_range(0..self.plan.shards.len())];
        self.launch_with(shards)
    }

    fn launch_with(&self, shards: usize) -> Launch {
        Launch::shards(shards)
            .option("--appendfsync", &self.plan.mode)
            .option("--log-segment-bytes", SEGMENT)
            .option("--log-retention", "0s")
    }
}
