//! The limit of open files: each connection is one.

use crate::error::BenchError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that a process has open beside its connections: sockets, logs, polls. A server may have many.
pub const OTHER_FILES: usize = 500;

/// Files that this process has open beside its connections at least: standard streams, a poll for each thread, results.
const OWN_FILES: usize = 16;

/// Raises this process's limit of open files, which processes started later inherit, so that it can have so many connections.
///
/// # Errors
///
/// The system allows fewer.
pub fn allow(connections: usize) -> Result<(), BenchError> {
    let limit = getrlimit(Resource::Nofile);
    let Some(raised) = raised(limit, connections)? else { return Ok(()) };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| BenchError::io("raise the limit of open files (ulimit -n)")(error.into()))
}

/// Raises the limit as far as the system allows.
pub fn allow_all() {
    let limit = getrlimit(Resource::Nofile);
    // What was allowed before is enough to begin with.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The limit that is needed for so many connections; none: the one there is does.
fn raised(limit: Rlimit, connections: usize) -> Result<Option<Rlimit>, BenchError> {
    let needed = (connections + OTHER_FILES) as u64;
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(None);
    }
    // A few connections are possible where the limit is lower than what is usually spare.
    let least = (connections + OWN_FILES) as u64;
    match limit.maximum {
        Some(maximum) if maximum < least => Err(BenchError::Settings(format!(
            "{connections} connections need a limit of {least} open files, and the system allows this process {maximum}; raise it \
             (ulimit -Hn) or take fewer connections"
        ))),
        Some(maximum) => Ok(Some(Rlimit { current: Some(needed.min(maximum)), ..limit })),
        None => Ok(Some(Rlimit { current: Some(needed), ..limit })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_raised_as_far_as_is_needed_and_allowed() {
        let limit = |current, maximum| Rlimit { current, maximum };
        for (current, maximum, connections, expected) in [
            (None, None, 9_000, None),
            (Some(10_000), Some(10_000), 9_500, None),
            (Some(1_024), Some(20_000), 10_000, Some(10_500)),
            (Some(1_024), None, 10_000, Some(10_500)),
            (Some(64), Some(10_300), 10_000, Some(10_300)),
            (Some(64), Some(64), 20, Some(64)),
            (Some(1_024), Some(1_024), 1_000, Some(1_024)),
        ] {
            let found = raised(limit(current, maximum), connections).unwrap();
            assert_eq!(found.map(|limit| limit.current), expected.map(Some), "{connections} of {maximum:?}");
        }
        let error = raised(limit(Some(64), Some(4_096)), 5_000).unwrap_err().to_string();
        assert!(error.contains("5000 connections") && error.contains("this process 4096"), "{error}");
    }
}
