//! What can go wrong in the demo: a sentence, and what to do.

use std::fmt;
use std::path::PathBuf;

/// Why the demo ended early.
#[derive(Debug)]
pub enum DemoError {
    /// The program `git` cannot be started.
    GitMissing(String),
    /// `git` refuses to read the repository.
    NotARepository {
        /// The path that was given.
        path: PathBuf,
        /// What git said.
        said: String,
    },
    /// A repository without a commit that can become an event.
    EmptyHistory {
        /// The path that was given.
        path: PathBuf,
        /// Nothing at all, or nothing but the cut of a shallow clone.
        shallow: bool,
    },
    /// `git log` ended early.
    GitFailed(String),
    /// A file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system, or the CSV reader, said.
        reason: String,
    },
    /// A CSV file without a row.
    NoRows(PathBuf),
    /// The columns do not say what an event is; the text names the flag that would.
    Columns {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
        /// The header, to choose from.
        header: Vec<String>,
    },
    /// A flag that cannot be understood.
    Flag {
        /// Its name and value.
        flag: String,
        /// What it takes.
        takes: String,
    },
    /// No temporary directory.
    Temporary(String),
    /// The server did not start.
    Server(String),
    /// Ctrl-C before the table.
    Interrupted,
    /// The stream cannot be made.
    Stream {
        /// Its name.
        name: String,
        /// What the server said.
        reason: String,
    },
    /// The server refused something while loading or reading.
    Client(windrow_client::Error),
    /// Every event was refused: there is nothing to show.
    NothingCounted {
        /// The first reason.
        first: String,
    },
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DemoError::GitMissing(reason) => write!(
                f,
                "git cannot be started ({reason}). Install git, or show a file instead: windrow demo --csv FILE"
            ),
            DemoError::NotARepository { path, said } => write!(
                f,
                "{} is not a git repository that can be read (git says: {said}). \
                 Start the demo inside one, or name one: --repo PATH, or a file: --csv FILE",
                path.display()
            ),
            DemoError::EmptyHistory { path, shallow: false } => {
                write!(f, "the repository at {} has no commit yet. Name another: --repo PATH", path.display())
            }
            DemoError::EmptyHistory { path, shallow: true } => write!(
                f,
                "the repository at {} is a shallow clone that ends right at its cut: it has no commit whose changes are known. \
                 Run `git fetch --unshallow` in it, or name another: --repo PATH",
                path.display()
            ),
            DemoError::GitFailed(said) => write!(
                f,
                "git log ended early (git says: {said}). `git fsck` tells whether the repository is damaged"
            ),
            DemoError::Unreadable { path, reason } => {
                write!(
                    f,
                    "{} cannot be read: {reason}. Name a CSV file with a header: --csv FILE",
                    path.display()
                )
            }
            DemoError::NoRows(path) => write!(
                f,
                "{} has no row that can become an event below its header. Name a file with rows: --csv FILE",
                path.display()
            ),
            DemoError::Columns { path, reason, header } => {
                write!(f, "{}: {reason}. The columns are: {}", path.display(), header.join(", "))
            }
            DemoError::Flag { flag, takes } => write!(f, "{flag} cannot be understood: it takes {takes}"),
            DemoError::Temporary(reason) => {
                write!(f, "no temporary directory can be made: {reason}. Name a directory: --dir DIR")
            }
            DemoError::Server(reason) => write!(f, "the server did not start: {reason}"),
            DemoError::Interrupted => {
                write!(
                    f,
                    "interrupted before everything was loaded. A directory kept with --dir: --reload loads it anew"
                )
            }
            DemoError::Stream { name, reason } => write!(
                f,
                "the stream {name} cannot be made: {reason}. If the directory holds another one of that name: \
                 --stream NAME makes one beside it, --reload replaces it"
            ),
            DemoError::Client(error) => write!(f, "{error}"),
            DemoError::NothingCounted { first } => {
                write!(f, "not one event was counted; the first was refused because: {first}")
            }
        }
    }
}

impl std::error::Error for DemoError {}

impl From<windrow_client::Error> for DemoError {
    fn from(error: windrow_client::Error) -> DemoError {
        DemoError::Client(error)
    }
}
