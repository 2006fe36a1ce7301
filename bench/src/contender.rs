//! Who is measured, and how to start it.

use crate::control::{Control, Greeting};
use crate::cpu;
use crate::error::BenchError;
use crate::run::Server;
use crate::server_process::ServerProcess;
use crate::workload::{Mode, Target};
use serde::Serialize;
use std::path::PathBuf;

/// What a user must know where there is one core for all.
pub(crate) const SHARED_CORE: &str = "there is only one core that this process may use: servers and the generator share it, and take \
    time from each other; no figure is a server's alone";

/// The core for servers, where there is another for the generator: the first that this process may use. To be asked once, before the
/// generator leaves it: from then on it looks like a core that is not there.
///
/// # Errors
///
/// The system does not say which cores there are.
pub fn server_core() -> Result<Option<usize>, BenchError> {
    Ok(core_apart(&cpu::allowed()?))
}

/// The first, if there is a second.
fn core_apart(allowed: &[usize]) -> Option<usize> {
    allowed.first().copied().filter(|_| allowed.len() >= 2)
}

/// What takes part, in the order of each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Contender {
    /// Windrow.
    Windrow,
    /// Redis with the sorted-set pattern.
    Zset,
    /// Redis with a hash of buckets, kept by the client.
    Hash,
    /// Redis with a hash of buckets, kept by functions in Lua.
    Lua,
    /// RedisTimeSeries, where Redis has the module.
    Ts,
    /// Redis SET for events, GET for reads: the least a Redis command costs.
    Plain,
    /// The null responder given Windrow's commands: the most this machine allows.
    Null,
}

impl Contender {
    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Windrow => "Windrow",
            Self::Zset => "Redis sorted set",
            Self::Hash => "Redis hash",
            Self::Lua => "Redis Lua hash",
            Self::Ts => "RedisTimeSeries",
            Self::Plain => "Redis SET/GET",
            Self::Null => "null",
        }
    }

    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Windrow => "windrow",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Lua => "lua",
            Self::Ts => "ts",
            Self::Plain => "plain",
            Self::Null => "null",
        }
    }

    fn target(self) -> Target {
        match self {
            Self::Windrow => Target::Windrow,
            Self::Zset | Self::Plain => Target::Redis,
            Self::Hash => Target::Hash,
            Self::Lua => Target::Lua,
            Self::Ts => Target::Ts,
            Self::Null => Target::Null,
        }
    }

    /// The contender's form of a mode; `None` if it has none.
    pub fn mode(self, mode: Mode) -> Option<Mode> {
        match (self, mode) {
            (Self::Plain, Mode::Events | Mode::Set) => Some(Mode::Set),
            (Self::Plain, Mode::Pipelined(rows) | Mode::PipelinedSet(rows)) => Some(Mode::PipelinedSet(rows)),
            (Self::Plain, Mode::Reads | Mode::Get) => Some(Mode::Get),
            (Self::Plain, _) | (_, Mode::Set | Mode::PipelinedSet(_) | Mode::Get) => None,
            (_, mode) => Some(mode),
        }
    }
}

/// Programs to start, and their further arguments.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The Windrow binary.
    pub windrow_bin: PathBuf,
    /// Its further arguments.
    pub windrow_args: Vec<String>,
    /// The Redis binary.
    pub redis_bin: PathBuf,
    /// Its further arguments.
    pub redis_args: Vec<String>,
}

impl Programs {
    /// Starts a server on a core, if one is named; Windrow with `more` arguments.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start(
        &self,
        contender: Contender,
        core: Option<usize>,
        more: &[String],
    ) -> Result<ServerProcess, BenchError> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let name = contender.name();
        match contender {
            Contender::Windrow => ServerProcess::start(name, &self.windrow_bin, core, |port, directory| {
                let data = directory.join("data");
                let mut args =
                    words(&["serve", "--port", &port.to_string(), "--dir", &data.to_string_lossy()]);
                args.extend(self.windrow_args.iter().chain(more).cloned());
                args
            }),
            Contender::Zset | Contender::Hash | Contender::Lua | Contender::Ts | Contender::Plain => {
                ServerProcess::start(name, &self.redis_bin, core, |port, directory| {
                    let mut args = words(&["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
                    args.extend(words(&["--appendonly", "no", "--dir", &directory.to_string_lossy()]));
                    args.extend(self.redis_args.iter().cloned());
                    args
                })
            }
            Contender::Null => {
                let this = std::env::current_exe().map_err(BenchError::io("find this program"))?;
                ServerProcess::start(name, &this, core, |port, _| {
                    words(&["null", "--listen", &format!("127.0.0.1:{port}")])
                })
            }
        }
    }
}

/// What the generator needs to know of a server of ours.
pub fn server(contender: Contender, process: &ServerProcess) -> Server {
    Server {
        addr: process.addr().to_owned(),
        target: contender.target(),
        greeting: Greeting::default(),
        pid: Some(process.pid()),
    }
}

/// Why a contender cannot take part on this server, if it cannot.
///
/// # Errors
///
/// The server does not answer.
pub fn missing(contender: Contender, server: &Server) -> Result<Option<String>, BenchError> {
    if contender != Contender::Ts {
        return Ok(None);
    }
    let modules = Control::connect(&server.addr, &server.greeting)?.expect(&["MODULE", "LIST"])?;
    Ok((!modules.to_lowercase().contains("timeseries")).then(|| {
        "MODULE LIST shows no timeseries; load it with --redis-args \"--loadmodule <path>\"".to_owned()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_the_first_core_that_is_allowed_if_there_is_another() {
        for (allowed, expected) in [
            (&[0, 1][..], Some(0)),
            (&[2, 3], Some(2)),
            (&[1, 5, 9], Some(1)),
            (&[0], None),
            (&[3], None),
            (&[], None),
        ] {
            assert_eq!(core_apart(allowed), expected, "{allowed:?}");
        }
    }

    #[test]
    fn who_has_no_form_of_a_mode_is_left_out() {
        assert_eq!(Contender::Plain.mode(Mode::Events), Some(Mode::Set));
        assert_eq!(Contender::Plain.mode(Mode::Pipelined(8)), Some(Mode::PipelinedSet(8)));
        assert_eq!(Contender::Plain.mode(Mode::Madd(64)), None);
        assert_eq!(Contender::Windrow.mode(Mode::Set), None);
    }
}
