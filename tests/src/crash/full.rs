//! A disk without room: writes are refused before they are applied, reads go on, writing resumes when there is room.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::entity::STREAM;
use super::findings::Findings;
use super::load::{Crew, Survives};
use super::mount::{Kind, Mount, fill};
use super::outcome::Outcome;
use super::probe;
use crate::server::{Home, Launch, Server};

/// Room of the disks: soon full.
const TMPFS_BYTES: u64 = 24 << 20;
const EXT4_BYTES: u64 = 40 << 20;
/// How long a change may take to be seen: under `always`, on a busy disk, two segments are not soon full.
const CHANGE_WAIT: Duration = Duration::from_secs(90);
/// How long the load goes on once it is refused, and once it is not any more.
const AFTERWARDS: Duration = Duration::from_millis(150);

/// What to fill.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The file system.
    pub kind: Kind,
    /// `appendfsync`.
    pub mode: String,
    /// How often.
    pub rounds: u64,
    /// Shards of the server.
    pub shards: usize,
    /// Decides everything but the threads' timing.
    pub seed: u64,
}

/// Runs the plan. Fails where the machine does not do what [`mount::available`](super::mount::available) found it to do.
pub fn run(plan: &Plan) -> io::Result<Outcome> {
    let mut outcome = Outcome::new(format!("full {}, appendfsync {}", plan.kind.name(), plan.mode));
    while outcome.tries < plan.rounds && outcome.findings.total() == 0 {
        let mount = Mount::new(plan.kind, if plan.kind == Kind::Tmpfs { TMPFS_BYTES } else { EXT4_BYTES })?;
        let round = Round { plan, ballast: mount.point().join("ballast"), outcome: &mut outcome };
        round.run(&mount)?;
    }
    Ok(outcome)
}

struct Round<'a> {
    plan: &'a Plan,
    ballast: PathBuf,
    outcome: &'a mut Outcome,
}

impl Round<'_> {
    fn run(mut self, mount: &Mount) -> io::Result<()> {
        let launch = Launch::shards(self.plan.shards)
            .option("--appendfsync", &self.plan.mode)
            .option("--log-segment-bytes", "1mb");
        let server = launch.start_in(Home::with_data(mount.point().join("data")));
        let mut conn = server.connect();
        conn.ok(STREAM);
        let load = Crew::new(self.plan.seed ^ self.outcome.tries).start(server.addr());
        std::thread::sleep(AFTERWARDS);
        fill(&self.ballast, 0)?;
        probe::wait_for(self.outcome, &mut conn, "a write is refused", CHANGE_WAIT, probe::has_no_room);
        std::thread::sleep(AFTERWARDS);
        probe::expect_reads(self.outcome, &mut conn);
        let mut crew = load.finish();
        // What was refused was not applied, what was acknowledged was.
        self.judge(&mut crew, &server, "on the full disk");
        let load = crew.start(server.addr());
        std::fs::remove_file(&self.ballast)?;
        probe::wait_for(self.outcome, &mut conn, "writing resumes", CHANGE_WAIT, probe::is_ok);
        std::thread::sleep(AFTERWARDS);
        fill(&self.ballast, 0)?;
        probe::wait_for(self.outcome, &mut conn, "a write is refused again", CHANGE_WAIT, probe::has_no_room);
        let home = self.outcome.kill(server, Some(&load));
        let mut crew = load.finish();
        self.outcome.tries += 1;
        let home = self.restart_on_full_disk(&launch, home, &mut crew);
        std::fs::remove_file(&self.ballast)?;
        match launch.try_start_in(home) {
            Ok(server) => {
                self.judge(&mut crew, &server, "after a restart");
                crew.settle(server.addr(), &mut self.outcome.findings);
                self.judge(&mut crew, &server, "sent again after a restart");
            }
            Err(error) => self.outcome.findings.wrong_answer(error.to_string()),
        }
        self.outcome.add_crew(&crew);
        Ok(())
    }

    /// It may serve what there is, or say that there is no room and end; the directory stays as good as it was.
    fn restart_on_full_disk(&mut self, launch: &Launch, home: Home, crew: &mut Crew) -> Home {
        match launch.try_start_in(home) {
            Ok(server) => {
                self.judge(crew, &server, "after a restart on the full disk");
                self.outcome.kill(server, None)
            }
            Err(error) => {
                if !error.failure.contains("No space left") {
                    self.outcome
                        .findings
                        .wrong_answer(format!("it does not say that the disk is full: {error}"));
                }
                error.home
            }
        }
    }

    fn judge(&mut self, crew: &mut Crew, server: &Server, when: &str) {
        let mut findings = Findings::default();
        crew.judge(&mut server.connect(), Survives::Acknowledged, &mut findings);
        self.outcome.findings.add(findings, &format!("seed {}, {when}", self.plan.seed));
    }
}
