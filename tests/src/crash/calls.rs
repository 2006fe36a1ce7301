//! System calls that fail or take long while the server is under load: `strace` is attached to it and injects them.
//!
//! A short write cannot be injected this way (a call that did not happen would claim to have written); the simulated disk has them.

use std::fs::File;
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::entity::STREAM;
use super::findings::Findings;
use super::load::{Crew, Survives};
use super::outcome::Outcome;
use super::probe;
use crate::server::{Home, Launch, Server};

/// How the server must take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The log has failed: writes are refused until the restart, also when the fault is over.
    Failed,
    /// There is no room: writes are refused before they are applied, and accepted again when the fault is over.
    NoRoom,
    /// No write is refused; those that have to wait do.
    NoRefusal,
}

/// A fault of a system call.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Which calls, as `strace -e trace` names them.
    pub calls: &'static str,
    /// What happens to them, as `strace -e inject` says it.
    pub fault: &'static str,
    /// `appendfsync` of the server.
    pub mode: &'static str,
    /// How the server must take it.
    pub expect: Expect,
}

/// The faults that are tried.
pub const CASES: &[Case] = &[
    Case { calls: "fdatasync", fault: "error=EIO:when=3+", mode: "always", expect: Expect::Failed },
    Case { calls: "fdatasync", fault: "error=EIO:when=1", mode: "everysec", expect: Expect::Failed },
    Case { calls: "fdatasync", fault: "delay_enter=700000", mode: "always", expect: Expect::NoRefusal },
    Case { calls: "fdatasync", fault: "delay_enter=1700000", mode: "everysec", expect: Expect::NoRefusal },
    Case { calls: "pwrite64", fault: "error=EIO:when=20+", mode: "always", expect: Expect::Failed },
    Case { calls: "pwrite64", fault: "error=EIO:when=50", mode: "everysec", expect: Expect::Failed },
    Case { calls: "pwrite64", fault: "error=ENOSPC:when=30+", mode: "no", expect: Expect::Failed },
    Case { calls: "pwrite64", fault: "error=EINTR:when=2+3", mode: "everysec", expect: Expect::NoRefusal },
    Case { calls: "fallocate", fault: "error=ENOSPC", mode: "everysec", expect: Expect::NoRoom },
    Case { calls: "fallocate", fault: "delay_enter=300000", mode: "everysec", expect: Expect::NoRefusal },
    Case { calls: "openat", fault: "error=EMFILE", mode: "everysec", expect: Expect::NoRoom },
    Case { calls: "/^rename", fault: "error=EIO", mode: "everysec", expect: Expect::Failed },
    Case { calls: "fsync", fault: "error=EIO", mode: "everysec", expect: Expect::Failed },
];

/// How long the load runs before the fault.
const BEFORE: Duration = Duration::from_millis(150);
/// How long it goes on under a fault that refuses nothing: longer than the delays.
const UNDER_FAULT: Duration = Duration::from_millis(2500);
/// How long it goes on once the server's answer has changed.
const AFTERWARDS: Duration = Duration::from_millis(100);
/// How long a change may take to be seen on a busy machine that traces every call.
const CHANGE_WAIT: Duration = Duration::from_secs(25);

/// What to inject, how often.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The fault.
    pub case: Case,
    /// How often.
    pub rounds: u64,
    /// Shards of the server.
    pub shards: usize,
    /// Decides everything but the threads' timing.
    pub seed: u64,
}

/// An error that says why calls cannot be traced here.
pub fn available() -> io::Result<()> {
    let output =
        Command::new("strace").args(["-q", "-o", "/dev/null", "true"]).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("strace: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Runs the plan. Fails where the machine does not do what [`available`] found it to do.
pub fn run(plan: &Plan) -> io::Result<Outcome> {
    let Case { calls, fault, mode, .. } = plan.case;
    let mut outcome = Outcome::new(format!("{} {fault}, appendfsync {mode}", calls.trim_start_matches("/^")));
    while outcome.tries < plan.rounds && outcome.findings.total() == 0 {
        Round { plan, outcome: &mut outcome }.run()?;
    }
    Ok(outcome)
}

struct Round<'a> {
    plan: &'a Plan,
    outcome: &'a mut Outcome,
}

impl Round<'_> {
    fn run(mut self) -> io::Result<()> {
        let case = self.plan.case;
        let launch = Launch::shards(self.plan.shards)
            .option("--appendfsync", case.mode)
            .option("--log-segment-bytes", "1mb");
        let server = launch.start();
        let mut conn = server.connect();
        conn.ok(STREAM);
        let crew = Crew::new(self.plan.seed ^ self.outcome.tries);
        let refused_before = crew.counts().refused;
        let load = crew.start(server.addr());
        std::thread::sleep(BEFORE);
        load.is_over();
        let mut fault = Injection::start(&server, case.calls, case.fault)?;
        match case.expect {
            Expect::Failed => {
                probe::wait_for(self.outcome, &mut conn, "the log fails", CHANGE_WAIT, probe::has_failed);
            }
            Expect::NoRoom => {
                probe::wait_for(self.outcome, &mut conn, "there is no room", CHANGE_WAIT, probe::has_no_room);
            }
            Expect::NoRefusal => {
                std::thread::sleep(UNDER_FAULT);
                probe::wait_for(self.outcome, &mut conn, "a write is accepted", CHANGE_WAIT, probe::is_ok);
            }
        }
        std::thread::sleep(AFTERWARDS);
        probe::expect_reads(self.outcome, &mut conn);
        match case.expect {
            // For good.
            Expect::Failed => {
                fault.end()?;
                probe::wait_for(
                    self.outcome,
                    &mut conn,
                    "the log has failed still",
                    CHANGE_WAIT,
                    probe::has_failed,
                );
            }
            Expect::NoRoom => {
                fault.end()?;
                probe::wait_for(self.outcome, &mut conn, "a write is accepted", CHANGE_WAIT, probe::is_ok);
            }
            // A tracer that lets go in the midst of a call that it was to fail leaves "not implemented" behind, which is a failure. So it
            // goes with the server.
            Expect::NoRefusal => {}
        }
        std::thread::sleep(AFTERWARDS);
        let home = self.outcome.kill(server, Some(&load));
        drop(fault);
        let mut crew = load.finish();
        self.outcome.tries += 1;
        if case.expect == Expect::NoRefusal && crew.counts().refused > refused_before {
            self.outcome.findings.wrong_answer(format!("{} writes were refused", crew.counts().refused));
        }
        self.restart(&launch, home, &mut crew);
        self.outcome.add_crew(&crew);
        Ok(())
    }

    fn restart(&mut self, launch: &Launch, home: Home, crew: &mut Crew) {
        let server = match launch.try_start_in(home) {
            Ok(server) => server,
            Err(error) => return self.outcome.findings.wrong_answer(error.to_string()),
        };
        let mut findings = Findings::default();
        crew.judge(&mut server.connect(), Survives::Acknowledged, &mut findings);
        crew.settle(server.addr(), &mut findings);
        crew.judge(&mut server.connect(), Survives::Acknowledged, &mut findings);
        self.outcome.findings.add(findings, &format!("seed {}, after a restart", self.plan.seed));
    }
}

/// An attached `strace`; it lets go when dropped.
#[derive(Debug)]
pub struct Injection {
    strace: Child,
}

impl Injection {
    /// From now on, or soon, the server's `calls` meet the `fault`.
    pub fn start(server: &Server, calls: &str, fault: &str) -> io::Result<Injection> {
        let log = File::create(server.home().data().with_extension("strace"))?;
        let strace = Command::new("strace")
            .args(["-f", "-q", "-o", "/dev/null", "-p", &server.pid().to_string()])
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Injection { strace })
    }

    /// Lets go of the server. An error when it had not been traced any more.
    fn end(&mut self) -> io::Result<()> {
        if let Some(status) = self.strace.try_wait()? {
            return Err(io::Error::other(format!("strace ended with {status} while it was needed")));
        }
        let pid = i32::try_from(self.strace.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a child without a pid"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.strace.wait()?;
        Ok(())
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        if let Ok(None) = self.strace.try_wait() {
            let _ = self.end();
        }
    }
}
