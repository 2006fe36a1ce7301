//! The real binary: found, started on a free port, awaited, killed, started again on the same directory.

use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::resp::{Conn, Reply};

/// How long a start may take on a slow, busy machine, replay included.
const READY_WAIT: Duration = Duration::from_secs(60);
/// How long a clean stop may take.
const STOP_WAIT: Duration = Duration::from_secs(30);
/// A port that was free a moment ago can be taken by the time the server binds it.
const START_ATTEMPTS: usize = 5;

/// How to start the server.
#[derive(Debug, Clone)]
pub struct Launch {
    shards: usize,
    arguments: Vec<String>,
    /// What runs the server, if not the system: a program that becomes it.
    wrapper: Vec<String>,
}

impl Launch {
    /// With this many shards, everything else as it comes.
    pub fn shards(shards: usize) -> Launch {
        Launch { shards, arguments: Vec::new(), wrapper: Vec::new() }
    }

    /// With one more command-line option.
    pub fn option(mut self, name: &str, value: &str) -> Launch {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Run by a program that keeps its own process for the server, as `env` or `strace -D` do.
    pub fn under(mut self, wrapper: &[&str]) -> Launch {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts on a new, empty directory.
    pub fn start(&self) -> Server {
        self.start_in(Home::new())
    }

    /// Starts on the directory of an earlier server.
    ///
    /// # Panics
    /// When the server does not come up; the message carries what it wrote.
    pub fn start_in(&self, home: Home) -> Server {
        self.try_start_in(home).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Launch::start_in`], with a start that fails as an error.
    pub fn try_start_in(&self, home: Home) -> Result<Server, StartError> {
        let mut failure = String::new();
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            let mut child = home.spawn(self.command(&home, port));
            match wait_until_ready(&mut child, port) {
                Ok(()) => return Ok(Server { child, port, home: Some(home) }),
                Err(error) => failure = format!("{error}\n{}", home.log_tail()),
            }
            let _ = child.kill();
            let _ = child.wait();
            if !failure.to_lowercase().contains("in use") {
                break;
            }
        }
        Err(StartError { home, failure })
    }

    /// Starts on the directory of an earlier server and does not wait for it.
    pub fn begin(&self, home: Home) -> Server {
        let port = free_port();
        let child = home.spawn(self.command(&home, port));
        Server { child, port, home: Some(home) }
    }

    /// Starts on the directory of an earlier server and kills it (kill -9) after this long, ready or not.
    ///
    /// # Panics
    /// When it ended by itself before.
    pub fn start_and_kill_after(&self, home: Home, after: Duration) -> Home {
        self.try_start_and_kill_after(home, after).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`Launch::start_and_kill_after`], with a server that ended by itself as an error.
    ///
    /// # Panics
    /// When a child of ours can be neither asked nor killed.
    pub fn try_start_and_kill_after(&self, home: Home, after: Duration) -> Result<Home, StartError> {
        let mut child = home.spawn(self.command(&home, free_port()));
        std::thread::sleep(after);
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            if home.log_tail().to_lowercase().contains("in use") {
                return Ok(home);
            }
            return Err(StartError { failure: format!("it ended with {status}\n{}", home.log_tail()), home });
        }
        Ok(Server { child, port: 0, home: Some(home) }.kill())
    }

    fn command(&self, home: &Home, port: u16) -> Command {
        let mut command = match self.wrapper.split_first() {
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        command
            .args(["serve", "--port", &port.to_string(), "--shards", &self.shards.to_string()])
            .arg("--dir")
            .arg(home.data())
            .args(&self.arguments);
        command
    }
}

/// A server that did not come up.
#[derive(Debug)]
pub struct StartError {
    /// Its directory.
    pub home: Home,
    /// What went wrong, and the last lines that it wrote.
    pub failure: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "windrow did not start on {}: {}", self.home.data().display(), self.failure)
    }
}

impl std::error::Error for StartError {}

/// The directory a server lives in, and what it wrote: outlives the process.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    data: PathBuf,
}

impl Home {
    /// A new, empty one.
    ///
    /// # Panics
    /// When the temporary directory cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes a directory: nothing to do by default")]
    pub fn new() -> Home {
        let dir = TempDir::with_prefix("windrow-test-").expect("a temporary directory can be made");
        let data = dir.path().join("data");
        Home { dir, data }
    }

    /// A new one whose data lies elsewhere: on a file system of its own.
    ///
    /// # Panics
    /// As [`Home::new`].
    pub fn with_data(data: PathBuf) -> Home {
        Home { data, ..Home::new() }
    }

    /// The data directory to give to `--dir`.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Leaves it behind for whoever looks into it; where it is.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    /// Starts a command whose output is appended to this home's log.
    ///
    /// # Panics
    /// When the command cannot be started.
    pub fn spawn(&self, mut command: Command) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("the log in the temporary directory can be opened");
        let copy = log.try_clone().expect("a file handle can be cloned");
        command.stdin(Stdio::null()).stdout(copy).stderr(log);
        command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// The last lines that servers of this home wrote.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    /// `None` only after it was handed on by [`Server::kill`] or [`Server::stop`].
    home: Option<Home>,
}

impl Server {
    /// Takes over a child that serves on `port`, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn adopt(mut child: Child, port: u16, home: Home) -> Server {
        if let Err(error) = wait_until_ready(&mut child, port) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{error}\n{}", home.log_tail());
        }
        Server { child, port, home: Some(home) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new connection to it.
    ///
    /// # Panics
    /// When it refuses.
    pub fn connect(&self) -> Conn {
        Conn::open(self.addr()).unwrap_or_else(|error| panic!("connect to port {}: {error}", self.port))
    }

    /// Its directory and log.
    ///
    /// # Panics
    /// Never: the home is handed on only together with the server.
    pub fn home(&self) -> &Home {
        self.home.as_ref().expect("a running server has its home")
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, at once; the home can be started on again.
    pub fn kill(mut self) -> Home {
        let tracer = self.tracer();
        self.child.kill().expect("the server's own process can be killed");
        self.child.wait().expect("a killed process can be awaited");
        // It ends with the server, but for one that lost count of what it held up.
        if let Some(tracer) = tracer {
            let _ = rustix::process::kill_process(tracer, rustix::process::Signal::KILL);
        }
        self.home.take().expect("a running server has its home")
    }

    /// Who traces it: `strace -D` is no child of ours.
    fn tracer(&self) -> Option<rustix::process::Pid> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
        tracer.trim().parse().ok().and_then(rustix::process::Pid::from_raw)
    }

    /// Asks it to stop (SIGTERM) and waits for that.
    ///
    /// # Panics
    /// When it does not stop, or not with success.
    pub fn stop(mut self) -> Home {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a child has a pid"), rustix::process::Signal::TERM)
            .expect("the server's own process can be signalled");
        let status = wait_for_exit(&mut self.child, STOP_WAIT)
            .unwrap_or_else(|| panic!("still running {STOP_WAIT:?} after SIGTERM"));
        assert!(status.success(), "a clean stop ended with {status}:\n{}", self.home().log_tail());
        self.home.take().expect("a running server has its home")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let (true, Some(home)) = (std::thread::panicking(), &self.home) {
            eprintln!("--- what the server wrote ---\n{}\n---", home.log_tail());
        }
    }
}

/// Waits until a child ends, or until the time is over.
pub fn wait_for_exit(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// A port of the loopback interface that nobody listens on now.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    probe.local_addr().expect("a bound socket has an address").port()
}

/// The binary under test: `$WINDROW_BIN`, else the one cargo put beside this test.
///
/// # Panics
/// When there is none, with what to run.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WINDROW_BIN") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "WINDROW_BIN is {}, which is not a file", path.display());
        return path;
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().find(|path| !path.ends_with("deps") && path.is_dir());
    let path = profile.expect("a test lives in a target directory").join("windrow");
    assert!(
        path.is_file(),
        "no binary at {}: run `cargo build -p windrow-server` first, or set WINDROW_BIN",
        path.display()
    );
    path
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' folder has a parent")
}

fn wait_until_ready(child: &mut Child, port: u16) -> Result<(), String> {
    let started = Instant::now();
    let mut last = String::from("no connection was accepted");
    while started.elapsed() < READY_WAIT {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended with {status}"));
        }
        if let Ok(mut conn) = Conn::open((Ipv4Addr::LOCALHOST, port).into()) {
            match conn.try_args(&[b"PING"]) {
                Ok(Reply::Simple(text)) if text == "PONG" => return Ok(()),
                Ok(other) => last = format!("PING was answered {other:?}"),
                Err(error) => last = format!("PING: {error}"),
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("not ready after {READY_WAIT:?}: {last}"))
}
