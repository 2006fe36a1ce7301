//! `windrow log repair`: gives up what a corrupt log cannot give back, after it has said what that is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use windrow_storage::disk::RealDisk;
use windrow_storage::{OnCorruption, Recovery, StorageOptions};

use crate::error::ServerError;
use crate::server::random_word;

/// What `windrow log repair` found, and did.
#[derive(Debug)]
pub struct Repair {
    /// Operations that can be read.
    pub operations: u64,
    /// Each damage to durable operations: the file, where, and what is wrong.
    pub given_up: Vec<String>,
    /// Whether the directory was changed.
    pub is_done: bool,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.given_up.is_empty() {
            return write!(f, "nothing to repair: {} operations can be read", self.operations);
        }
        let verb = if self.is_done { "gave up" } else { "would give up" };
        writeln!(f, "{verb} what follows this damage in its log; {} operations remain:", self.operations)?;
        for damage in &self.given_up {
            writeln!(f, "  {damage}")?;
        }
        f.write_str(if self.is_done {
            "The server starts on this directory again."
        } else {
            "Nothing was changed. Copy the directory first; then run this again with --yes."
        })
    }
}

/// Reads the log of a data directory that no server uses; with `confirmed`, gives up what follows damage to durable operations.
///
/// # Errors
/// When the directory is no data directory, is in use, or cannot be read or written.
pub fn repair(dir: &Path, confirmed: bool) -> Result<Repair, ServerError> {
    if !dir.join("manifest").is_file() {
        return Err(ServerError::Config(format!(
            "{} is no data directory: it has no manifest",
            dir.display()
        )));
    }
    let options =
        StorageOptions { on_corruption: OnCorruption::GiveUp, ..StorageOptions::new(random_word()?) };
    let recovery = Recovery::open(Arc::new(RealDisk), dir, options, 0)?;
    let replayed = recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {})?;
    let report = replayed.report();
    let given_up: Vec<String> = report.given_up.iter().map(ToString::to_string).collect();
    let (operations, now_ms) = (report.operations, report.latest_now_ms.unwrap_or(0));
    let is_done = confirmed && !given_up.is_empty();
    if is_done {
        // The next epoch records where the logs end now; what is behind is never read again.
        replayed.start(1, now_ms)?;
    }
    Ok(Repair { operations, given_up, is_done })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::repair;
    use crate::{Config, Server};

    const STREAM: &str = "STREAM.CREATE s WINDOWS all AGGREGATE count\r\n";

    fn config(dir: &std::path::Path) -> Config {
        Config { port: 0, shards: 1, dir: dir.into(), pin_shards: false, ..Config::default() }
    }

    #[test]
    fn a_corrupt_log_is_refused_and_repaired_only_when_told_to() {
        use std::io::{Read, Write};
        let dir = tempfile::tempdir().unwrap();
        let running = Server::start(config(dir.path())).unwrap();
        while !running.is_serving() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let mut client = std::net::TcpStream::connect(running.addr()).unwrap();
        let events = "EVENT.ADD e s *\r\n".repeat(20);
        client.write_all(format!("{STREAM}{events}").as_bytes()).unwrap();
        let mut replies = vec![0; 21 * 5];
        client.read_exact(&mut replies).unwrap();
        assert_eq!(replies, b"+OK\r\n".repeat(21));
        running.shutdown().unwrap();
        assert_eq!(
            repair(dir.path(), true).unwrap().to_string(),
            "nothing to repair: 20 operations can be read"
        );

        let log = fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
        let first = log.filter(|path| path.extension().is_some_and(|end| end == "wal")).min().unwrap();
        let mut bytes = fs::read(&first).unwrap();
        // In the first frame, behind the segment's header block of 4,096 bytes.
        bytes[4096 + 60] ^= 1;
        fs::write(&first, bytes).unwrap();

        let refusal =
            Server::start(config(dir.path())).and_then(crate::Running::wait).unwrap_err().to_string();
        assert!(refusal.contains("windrow log repair"), "{refusal}");
        let found = repair(dir.path(), false).unwrap();
        assert!(!found.is_done && found.given_up.len() == 1, "{found}");
        let file = first.file_name().unwrap().to_string_lossy().into_owned();
        assert!(found.to_string().contains(&file), "{found}");
        assert!(
            Server::start(config(dir.path())).and_then(crate::Running::wait).is_err(),
            "nothing was changed"
        );
        assert!(repair(dir.path(), true).unwrap().is_done);
        let running = Server::start(config(dir.path())).unwrap();
        while !running.is_serving() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        running.shutdown().unwrap();
    }

    #[test]
    fn a_folder_that_is_no_data_directory_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let error = repair(dir.path(), true).unwrap_err().to_string();
        assert!(error.contains("no data directory"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
