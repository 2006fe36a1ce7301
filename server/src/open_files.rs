//! The limit of open files: every client is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files beside clients: log segments, listening sockets, polls.
const OTHER_FILES: u64 = 256;

/// Raises the process's limit so that `maxclients` fit, as far as the system allows; says so if it does not.
pub fn raise(maxclients: usize) {
    let needed = maxclients as u64 + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    let allowed = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    limit.current = Some(allowed);
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) if allowed >= needed => {}
        Ok(()) => tracing::warn!(
            "only {allowed} files may be open, which is too few for {maxclients} clients (ulimit -n)"
        ),
        Err(error) => tracing::warn!("cannot raise the limit of open files to {needed}: {error}"),
    }
}
