//! Why a well-formed request is not executed.

use std::fmt;

use super::NAMES_MAX;
use crate::Request;
use crate::glob::PatternTooLong;

/// So many bytes of a client's own text are repeated in an error.
const ECHOED_BYTES_MAX: usize = 128;

/// The request is refused, the connection goes on: reply `-ERR ` and this text, in Redis' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// No command has this name.
    UnknownCommand {
        /// The beginning of the name.
        name: String,
        /// The beginning of the arguments, each in quotes and followed by a space.
        args: String,
    },
    /// The command has no such subcommand.
    UnknownSubcommand {
        /// The command, in lower case.
        container: &'static str,
        /// The beginning of the name.
        name: String,
    },
    /// Too few or too many arguments.
    WrongArity {
        /// The command, in lower case, or `container|subcommand`.
        name: &'static str,
    },
    /// `COMMAND GETKEYS` of a command that does not exist.
    GetkeysOfUnknownCommand,
    /// `COMMAND GETKEYS` of a command without keys.
    NoKeyArguments,
    /// `COMMAND GETKEYS` of too few or too many arguments.
    GetkeysWrongArity,
    /// The keys of a command cannot be found, since what says where they are is wrong.
    KeysNotFound {
        /// The command, in lower case.
        name: &'static str,
    },
    /// `COMMAND INFO` or `COMMAND DOCS` of more than [`NAMES_MAX`] names.
    TooManyNames {
        /// How many there were.
        count: usize,
    },
    /// `COMMAND LIST FILTERBY PATTERN` with one that is too long.
    PatternTooLong(PatternTooLong),
    /// An option that is not one.
    Syntax,
}

impl CommandError {
    #[cold]
    pub(super) fn unknown_command(request: Request<'_>) -> Self {
        let name = request.get(0).unwrap_or_default();
        let mut args = String::new();
        for arg in request.iter().skip(1) {
            if args.len() >= ECHOED_BYTES_MAX {
                break;
            }
            let left_bytes = ECHOED_BYTES_MAX - args.len();
            args.push('\'');
            args.push_str(&beginning(arg, left_bytes));
            args.push_str("' ");
        }
        Self::UnknownCommand { name: beginning(name, ECHOED_BYTES_MAX), args }
    }

    #[cold]
    pub(super) fn unknown_subcommand(container: &'static str, name: &[u8]) -> Self {
        Self::UnknownSubcommand { container, name: beginning(name, ECHOED_BYTES_MAX) }
    }
}

fn beginning(text: &[u8], bytes_max: usize) -> String {
    String::from_utf8_lossy(&text[..text.len().min(bytes_max)]).into_owned()
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCommand { name, args } => {
                write!(f, "unknown command '{name}', with args beginning with: {args}")
            }
            // Redis names CLIENT HELP and its like here; what there is instead is COMMAND DOCS.
            Self::UnknownSubcommand { container, name } => {
                write!(f, "unknown subcommand '{name}'. Try COMMAND DOCS {}.", container.to_ascii_uppercase())
            }
            Self::WrongArity { name } => write!(f, "wrong number of arguments for '{name}' command"),
            Self::GetkeysOfUnknownCommand => f.write_str("Invalid command specified"),
            Self::NoKeyArguments => f.write_str("The command has no key arguments"),
            Self::GetkeysWrongArity => f.write_str("Invalid number of arguments specified for command"),
            Self::KeysNotFound { name } => {
                write!(f, "Invalid arguments specified for command '{name}': its counts do not add up")
            }
            Self::TooManyNames { count } => {
                write!(f, "too many command names: {count}, at most {NAMES_MAX} in one request")
            }
            Self::PatternTooLong(error) => error.fmt(f),
            Self::Syntax => f.write_str("syntax error"),
        }
    }
}

impl std::error::Error for CommandError {}
