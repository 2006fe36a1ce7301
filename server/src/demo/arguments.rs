//! The command line of `windrow demo`.

use std::path::PathBuf;

/// Start with real events in it: a git history, or a CSV file.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Git repository whose history becomes events.
    #[arg(long, value_name = "PATH", default_value = ".", conflicts_with = "csv")]
    pub repo: PathBuf,

    /// CSV file with a header whose rows become events, in the order of the file.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Column of the event time, in Unix milliseconds (COL:s for seconds) [default: time_ms, timestamp, ts, time, …].
    #[arg(long, value_name = "COL[:s]", requires = "csv")]
    pub time: Option<String>,

    /// Column that names an entity, `prefix:value`; may be given several times [default: author, folder, repo, user, …].
    #[arg(long, value_name = "COL[:PREFIX]", requires = "csv")]
    pub entity: Vec<String>,

    /// Field of the stream; may be given several times [default: every column of numbers].
    #[arg(long, value_name = "NAME=COL:FLOAT|INT|STRING", requires = "csv")]
    pub field: Vec<String>,

    /// Name of the stream.
    #[arg(long, value_name = "NAME", default_value = "commits")]
    pub stream: String,

    /// Windows of the stream.
    #[arg(long, value_name = "LENGTHS", default_value = "1d 7d 30d all")]
    pub windows: String,

    /// Keep this much more than the windows need, to read the past with AT.
    #[arg(long, value_name = "DURATION")]
    pub retain: Option<String>,

    /// Data directory; loaded once, found again by the next start [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Drop the stream that the directory has, and load it anew.
    #[arg(long)]
    pub reload: bool,

    /// Shard threads; 0: one per core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shards: usize,

    /// TCP port; 0: a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,

    /// Stop after the table instead of serving until Ctrl-C.
    #[arg(long, alias = "no-serve")]
    pub exit: bool,
}
