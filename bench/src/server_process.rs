//! Servers that a comparison starts, each in a directory of its own, and stops: exactly those it started.

use crate::control::{Greeting, wait_until_ready};
use crate::cpu;
use crate::error::BenchError;
use crate::interrupt;
use crate::progress::say;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Longest wait for a server to answer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest wait for a server to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause between looks at a server that is ending.
const STOP_PAUSE: Duration = Duration::from_millis(20);

/// Lines of a server's output shown when it does not start, or ends by itself.
const LOG_LINES_SHOWN: usize = 20;

/// Process ids and directories of the servers that are there.
static LIVE: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());

fn live() -> MutexGuard<'static, Vec<(u32, PathBuf)>> {
    // A panic elsewhere leaves the list as it was.
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the servers that are there and removes their directories, for a program that was interrupted: no further server starts.
pub(crate) fn kill_all() {
    let mut live = live();
    kill(&live);
    live.clear();
}

/// The same for a program that panics: where a panic aborts, nothing is dropped. If the list is locked, who holds it may be what
/// panicked; then nothing is done, since waiting for it could be for ever.
pub(crate) fn kill_all_in_panic() {
    let mut live = match LIVE.try_lock() {
        Ok(live) => live,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    kill(&live);
    live.clear();
}

fn kill(live: &[(u32, PathBuf)]) {
    let mut killed = Vec::with_capacity(live.len());
    for pid in live.iter().filter_map(|(pid, _)| Pid::from_raw(i32::try_from(*pid).ok()?)) {
        // Still our child, and running: else its id could be another's by now.
        if matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) {
            let _ = kill_process(pid, Signal::KILL);
            killed.push(pid);
        }
    }
    // All are killed before one is waited for, which may take its time to die.
    for pid in killed {
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
    for (_, directory) in live {
        let _ = fs::remove_dir_all(directory);
    }
}

/// A server of ours; it is stopped, and its directory removed, when this is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    child: Child,
    addr: String,
    directory: PathBuf,
    launch: Launch,
    /// An error has the end of its output already.
    is_output_shown: bool,
}

/// How a process was started, to start it again.
#[derive(Debug)]
struct Launch {
    program: PathBuf,
    args: Vec<String>,
    core: Option<usize>,
    /// What to do if there is no such program.
    remedy: &'static str,
}

/// How to name the program of a server.
fn remedy(name: &str) -> &'static str {
    match name {
        "windrow" => "--windrow-bin",
        valkey if valkey.starts_with("valkey") => {
            "--valkey-bin, or leave those that need it out of --contenders"
        }
        _ => "--redis-bin, or leave those that need it out (--contenders, or --rows of the targets)",
    }
}

fn not_there(program: &Path, remedy: &str) -> String {
    format!(
        "cannot start {}: there is no such program, here or on the PATH; name it with {remedy}",
        program.display()
    )
}

/// Refuses the program of a server that is not there, before anything else takes its time.
///
/// # Errors
///
/// It is neither where it is said to be, nor on the PATH if it is a bare name.
pub fn find(name: &str, program: &Path) -> Result<(), BenchError> {
    let is_there = match program.components().nth(1) {
        Some(_) => program.is_file(),
        None => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(program).is_file()),
    };
    if is_there { Ok(()) } else { Err(BenchError::Server(not_there(program, remedy(name)))) }
}

impl Launch {
    /// Starts the process, and notes that it is there.
    fn spawn(&self, directory: &Path) -> Result<Child, BenchError> {
        let output = log_file(directory)?;
        let errors = output.try_clone().map_err(BenchError::io("share the log file"))?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(directory);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // What the terminal sends to this program is for this program to pass on: else its servers would end before it knows why.
        command.process_group(0);
        // Held from before there is a process until it is known: a signal in between would leave it running.
        let mut live = live();
        interrupt::check()?;
        let spawned = match self.core {
            Some(core) => spawn_on(core, command),
            None => command.spawn().map_err(BenchError::io("start")),
        };
        let child = spawned.map_err(|error| {
            let program = self.program.display();
            BenchError::Server(match error {
                BenchError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    not_there(&self.program, self.remedy)
                }
                error => format!("cannot start {program}: {error}"),
            })
        })?;
        live.push((child.id(), directory.to_path_buf()));
        Ok(child)
    }
}

impl ServerProcess {
    /// Starts `program` on a free loopback port and waits until it answers. `args` makes its arguments from the
    /// port and its directory. It runs on `core` alone, if one is named.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not answer; the error shows the end of its output.
    pub fn start(
        name: &str,
        program: &Path,
        core: Option<usize>,
        args: impl FnOnce(u16, &Path) -> Vec<String>,
    ) -> Result<Self, BenchError> {
        // It runs in another directory. A bare name is looked up in PATH.
        let program = if program.components().nth(1).is_some() {
            &path::absolute(program).map_err(BenchError::io(format!("find {}", program.display())))?
        } else {
            program
        };
        let port = free_port()?;
        let directory =
            std::env::temp_dir().join(format!("windrow-bench-{}-{name}-{port}", std::process::id()));
        fs::create_dir(&directory).map_err(BenchError::io(format!("create {}", directory.display())))?;
        let args = args(port, &directory);
        let launch = Launch { program: program.to_path_buf(), args, core, remedy: remedy(name) };
        let child = launch.spawn(&directory).inspect_err(|_| {
            let _ = fs::remove_dir_all(&directory);
        })?;
        let addr = format!("{}:{port}", Ipv4Addr::LOCALHOST);
        let mut process =
            Self { name: name.to_owned(), child, addr, directory, launch, is_output_shown: false };
        process.wait_until_ready()?;
        Ok(process)
    }

    /// Where it listens.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory, in which it keeps its data.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Ends it as a power cut would (SIGKILL), lets `between` do what it wants, and starts it again where it was. Does not wait until
    /// it answers; gives the moment before it was started.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn kill_and_start(
        &mut self,
        between: impl FnOnce() -> Result<(), BenchError>,
    ) -> Result<Instant, BenchError> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        live().retain(|(pid, _)| *pid != self.child.id());
        between()?;
        let started = Instant::now();
        self.child = self.launch.spawn(&self.directory)?;
        Ok(started)
    }

    /// Waits until it answers without an error.
    ///
    /// # Errors
    ///
    /// It ended, or does not answer in time.
    pub fn wait_until_ready(&mut self) -> Result<(), BenchError> {
        let child = &mut self.child;
        let gone = || match interrupt::check() {
            Err(error) => Some(error.to_string()),
            Ok(()) => child.try_wait().ok().flatten().map(|status| format!("it ended with {status}")),
        };
        wait_until_ready(&self.addr, &Greeting::default(), READY_TIMEOUT, gone).map_err(|error| {
            self.is_output_shown = true;
            BenchError::Server(format!("{} did not start: {error}\n{}", self.name, self.last_words()))
        })
    }

    /// The end of its output.
    fn last_words(&self) -> String {
        let log = fs::read(self.directory.join("output.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Ends it, and tells how it ended if that was before it was asked to, or otherwise than it was asked to.
    fn stop(&mut self) -> Option<ExitStatus> {
        // Only asked to end if it has not: its id could be another's by now.
        let ended = self.child.try_wait();
        if let Ok(None) = ended {
            if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let deadline = Instant::now() + STOP_TIMEOUT;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(STOP_PAUSE);
            }
            let _ = self.child.kill();
            let status = self.child.wait().ok();
            return status.filter(|of| !of.success() && of.signal() != Some(Signal::TERM.as_raw()));
        }
        ended.ok().flatten()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let ended = self.stop();
        // Its log goes with its directory.
        if let Some(status) = ended.filter(|_| !self.is_output_shown && interrupt::check().is_ok()) {
            say(&format!(
                "{} at {} ended with {status}; its last words:\n{}",
                self.name,
                self.addr,
                self.last_words()
            ));
        }
        // Held until the directory is gone: who handles a signal meanwhile waits for it, and does not end the program before.
        let mut live = live();
        let _ = fs::remove_dir_all(&self.directory);
        live.retain(|(pid, _)| *pid != self.child.id());
    }
}

/// A thread that is bound to the core starts the process, which inherits the bond.
fn spawn_on(core: usize, mut command: Command) -> Result<Child, BenchError> {
    let starter = std::thread::spawn(move || {
        cpu::pin(core)?;
        command.spawn().map_err(BenchError::io("start"))
    });
    starter.join().map_err(|_| BenchError::Server("the starting thread panicked".to_owned()))?
}

fn log_file(directory: &Path) -> Result<File, BenchError> {
    File::create(directory.join("output.log")).map_err(BenchError::io("create the log file"))
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, BenchError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BenchError::io("find a free port"))?;
    Ok(listener.local_addr().map_err(BenchError::io("find a free port"))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_servers_that_are_there_and_removes_their_directories() {
        let directory = std::env::temp_dir().join(format!("windrow-bench-test-{}-panic", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        live().push((child.id(), directory.clone()));
        assert!(proc.exists());
        kill_all_in_panic();
        assert!(!proc.exists() && !directory.exists());
        assert!(child.wait().is_err(), "it was waited for already");
        // Held by whoever panicked: it does not wait.
        let _held = live();
        kill_all_in_panic();
    }
}
