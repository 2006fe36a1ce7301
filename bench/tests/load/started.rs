//! A generator that starts servers: watched from outside, and ended with them by a test that fails.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Started {
    child: Child,
    said: Option<BufReader<ChildStderr>>,
}

impl Started {
    pub fn new(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = child.stderr.take().map(BufReader::new);
        Self { child, said }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says a line that begins so.
    pub fn wait_for_line(&mut self, beginning: &str) {
        let mut all = String::new();
        loop {
            let before = all.len();
            let count = self.said.as_mut().unwrap().read_line(&mut all).unwrap();
            assert!(count > 0, "it never said {beginning:?}: {all}");
            if all[before..].starts_with(beginning) {
                return;
            }
        }
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
        let mut said = String::new();
        while self.said.as_mut().unwrap().read_line(&mut said).unwrap() > 0 {}
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
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
