//! Messages to standard error, with a level that CONFIG SET can change.

use std::sync::OnceLock;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts logging to standard error at a level of the `loglevel` setting. The first call in a process counts.
pub fn start(level: &str) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Changes the level of a logger that [`start`] started.
pub(crate) fn set_level(level: &str) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.modify(|present| *present = filter(level))
    {
        tracing::warn!("loglevel stays as it was: {error}");
    }
}

/// Redis' names of levels.
fn filter(level: &str) -> LevelFilter {
    match level {
        "debug" => LevelFilter::TRACE,
        "verbose" => LevelFilter::DEBUG,
        "warning" => LevelFilter::WARN,
        "nothing" => LevelFilter::OFF,
        _ => LevelFilter::INFO,
    }
}
