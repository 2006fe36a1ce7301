//! A generator that starts servers: watched from outside, and ended with them by a test that fails.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Started {
    child: Child,
    /// Lines of its standard error, which a thread reads: a generator that does not end fails its test, and does not hold it up.
    said: Receiver<String>,
}

impl Started {
    pub fn new(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, said) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self { child, said }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its next line; none: it says no more, since it has ended.
    fn line(&self, deadline: Instant) -> Option<String> {
        match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it neither says more nor ends"),
        }
    }

    /// Waits until it says a line that begins so.
    pub fn wait_for_line(&self, beginning: &str) {
        let (mut all, deadline) = (String::new(), Instant::now() + PATIENCE);
        while let Some(line) = self.line(deadline) {
            if line.starts_with(beginning) {
                return;
            }
            all += &(line + "\n");
        }
        panic!("it never said {beginning:?}: {all}");
    }

    /// Process ids of its servers, once there are so many of them.
    pub fn servers(&self, count: usize) -> Vec<u32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let servers = children(self.id());
            if servers.len() >= count && directories(self.id()).len() >= count {
                return servers;
            }
            assert!(Instant::now() < deadline, "the servers do not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, and what else it says.
    pub fn end(mut self) -> (Option<i32>, String) {
        let (mut said, deadline) = (String::new(), Instant::now() + PATIENCE);
        while let Some(line) = self.line(deadline) {
            said += &(line + "\n");
        }
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Started {
    /// One that does not end when it is asked to is what a test is there to find: it is not waited for.
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            for server in children(self.id()) {
                let _ = kill_process(Pid::from_raw(server.cast_signed()).unwrap(), Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
            for directory in directories(self.id()) {
                let _ = std::fs::remove_dir_all(directory);
            }
        }
    }
}

/// Nothing is left of a generator's servers.
pub fn assert_gone(generator: u32, servers: &[u32]) {
    assert_eq!(directories(generator), Vec::<PathBuf>::new());
    for server in servers {
        let line = std::fs::read_to_string(format!("/proc/{server}/cmdline")).unwrap_or_default();
        assert!(!line.contains("--listen"), "server {server} still runs");
    }
}

/// Directories of the servers that a generator has started.
pub fn directories(generator: u32) -> Vec<PathBuf> {
    let prefix = format!("windrow-bench-{generator}-");
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

fn children(generator: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{generator}/task")).unwrap() {
        // A thread that has ended since has left its children to another.
        let listed = std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default();
        children.extend(listed.split_whitespace().map(|child| child.parse::<u32>().unwrap()));
    }
    children
}
