//! Who is measured, and how to start it.

use crate::control::{Control, Greeting};
use crate::cpu;
use crate::error::BenchError;
use crate::run::Server;
use crate::server_process::ServerProcess;
use crate::workload::{self, Mode, Target};
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
#[serde(rename_all = "kebab-case")]
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
    /// Valkey with the sorted-set pattern.
    ValkeyZset,
    /// Valkey with a hash of buckets, kept by the client.
    ValkeyHash,
    /// Valkey with a hash of buckets, kept by functions in Lua.
    ValkeyLua,
    /// Valkey SET for events, GET for reads.
    ValkeyPlain,
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
            Self::ValkeyZset => "Valkey sorted set",
            Self::ValkeyHash => "Valkey hash",
            Self::ValkeyLua => "Valkey Lua hash",
            Self::ValkeyPlain => "Valkey SET/GET",
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
            Self::ValkeyZset => "valkey-zset",
            Self::ValkeyHash => "valkey-hash",
            Self::ValkeyLua => "valkey-lua",
            Self::ValkeyPlain => "valkey-plain",
            Self::Null => "null",
        }
    }

    fn target(self) -> Target {
        match self {
            Self::Windrow => Target::Windrow,
            Self::Zset | Self::Plain | Self::ValkeyZset | Self::ValkeyPlain => Target::Redis,
            Self::Hash | Self::ValkeyHash => Target::Hash,
            Self::Lua | Self::ValkeyLua => Target::Lua,
            Self::Ts => Target::Ts,
            Self::Null => Target::Null,
        }
    }

    /// Which product it is, of those that take each other's commands.
    pub fn product(self) -> Option<Product> {
        match self {
            Self::Windrow => Some(Product::Windrow),
            Self::Zset | Self::Hash | Self::Lua | Self::Ts | Self::Plain => Some(Product::Redis),
            Self::ValkeyZset | Self::ValkeyHash | Self::ValkeyLua | Self::ValkeyPlain => {
                Some(Product::Valkey)
            }
            Self::Null => None,
        }
    }

    /// The contender's form of a mode; `None` if it has none.
    pub fn mode(self, mode: Mode) -> Option<Mode> {
        let is_plain = matches!(self, Self::Plain | Self::ValkeyPlain);
        match mode {
            Mode::Events | Mode::Set if is_plain => Some(Mode::Set),
            Mode::Pipelined(rows) | Mode::PipelinedSet(rows) if is_plain => Some(Mode::PipelinedSet(rows)),
            Mode::Reads | Mode::Get if is_plain => Some(Mode::Get),
            Mode::Set | Mode::PipelinedSet(_) | Mode::Get => None,
            mode => (!is_plain).then_some(mode),
        }
    }
}

/// Servers that take Redis's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Product {
    Windrow,
    Redis,
    Valkey,
}

impl Product {
    /// What a server says it is in INFO, with its version; Windrow and Valkey say that they are like some Redis, too.
    fn of_info(info: &str) -> Option<(Self, &str)> {
        let version = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        [
            (Self::Windrow, "windrow_version:"),
            (Self::Valkey, "valkey_version:"),
            (Self::Redis, "redis_version:"),
        ]
        .into_iter()
        .find_map(|(product, name)| Some((product, version(name)?)))
    }
}

/// The version of RedisTimeSeries in the reply to MODULE LIST, if it is there: Redis gives two digits to each part but the first.
fn time_series_version(modules: &str) -> Option<String> {
    let (_, rest) = modules.split_once("$10\r\ntimeseries\r\n$3\r\nver\r\n:")?;
    let number: u32 = rest.split_once("\r\n")?.0.parse().ok()?;
    Some(format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100))
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
    /// The module of [`Contender::Ts`] and the module's own arguments; empty if `redis_args` load it, or nobody does.
    pub ts_module: Vec<String>,
    /// The Valkey binary.
    pub valkey_bin: PathBuf,
    /// Its further arguments.
    pub valkey_args: Vec<String>,
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
            Contender::Null => {
                let this = std::env::current_exe().map_err(BenchError::io("find this program"))?;
                ServerProcess::start(name, &this, core, |port, _| {
                    words(&["null", "--listen", &format!("127.0.0.1:{port}")])
                })
            }
            peer => {
                let (program, more) = match peer.product() {
                    Some(Product::Valkey) => (&self.valkey_bin, &self.valkey_args),
                    _ => (&self.redis_bin, &self.redis_args),
                };
                ServerProcess::start(name, program, core, |port, directory| {
                    let mut args = words(&["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
                    args.extend(words(&["--appendonly", "no", "--dir", &directory.to_string_lossy()]));
                    args.extend(more.iter().cloned());
                    // It is told of every key that expires or is set: the other contenders do without.
                    if peer == Contender::Ts && !self.ts_module.is_empty() {
                        args.push("--loadmodule".to_owned());
                        args.extend(self.ts_module.iter().cloned());
                        args.extend(words(&workload::TIME_SERIES_ARGUMENTS));
                    }
                    args
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

/// Which product and version a server says it is, for people, with the module that its contender is of; none: it does not say.
///
/// # Errors
///
/// It is another product than its contender's name says: figures would stand in the wrong line.
pub fn identity(contender: Contender, server: &Server) -> Result<Option<String>, BenchError> {
    let Some(expected) = contender.product() else { return Ok(None) };
    let mut control = Control::connect(&server.addr, &server.greeting)?;
    let info = control.command(&["INFO", "server"])?;
    let Some((found, version)) = Product::of_info(&info) else { return Ok(None) };
    if found != expected {
        return Err(BenchError::Settings(format!(
            "{} is to be measured on {expected:?}, and the server is {found:?} {version}; Windrow is named with --windrow-bin, Redis \
             with --redis-bin, Valkey with --valkey-bin, whose contenders are valkey-zset, valkey-hash, valkey-lua and valkey-plain",
            contender.title()
        )));
    }
    let mut identity = format!("{found:?} {version}");
    if contender == Contender::Ts
        && let Some(module) = time_series_version(&control.expect(&["MODULE", "LIST"])?)
    {
        identity.push_str(&format!(" with RedisTimeSeries {module}"));
    }
    Ok(Some(identity))
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
    Ok(time_series_version(&modules)
        .is_none()
        .then(|| "MODULE LIST shows no timeseries; name it with --ts-module <path>".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

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
    fn a_server_says_which_product_it_is() {
        let redis = "$99\r\n# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
        let valkey =
            "$99\r\n# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\n";
        assert_eq!(Product::of_info(redis), Some((Product::Redis, "7.0.15")));
        assert_eq!(Product::of_info(valkey), Some((Product::Valkey, "8.1.1")));
        let windrow = "$99\r\n# Server\r\nredis_version:7.4.0\r\nwindrow_version:0.1.0\r\n";
        assert_eq!(Product::of_info(windrow), Some((Product::Windrow, "0.1.0")));
        assert_eq!(Product::of_info("+OK\r\n"), None);
    }

    #[test]
    fn the_version_of_a_module_is_that_of_the_module() {
        let list = "*1\r\n*8\r\n$4\r\nname\r\n$10\r\ntimeseries\r\n$3\r\nver\r\n:10823\r\n$4\r\npath\r\n$5\r\n/t.so\r\n\
                    $4\r\nargs\r\n*0\r\n";
        assert_eq!(time_series_version(list).as_deref(), Some("1.8.23"));
        // Another module, in a folder of that name.
        let other = "*1\r\n*6\r\n$4\r\nname\r\n$2\r\nbf\r\n$3\r\nver\r\n:20200\r\n$4\r\npath\r\n$17\r\n/timeseries/bf.so\r\n";
        assert_eq!(time_series_version(other), None);
        assert_eq!(time_series_version("*0\r\n"), None);
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for contender in Contender::value_variants() {
            assert_eq!(contender.to_possible_value().unwrap().get_name(), contender.name());
        }
    }

    #[test]
    fn who_has_no_form_of_a_mode_is_left_out() {
        assert_eq!(Contender::Plain.mode(Mode::Events), Some(Mode::Set));
        assert_eq!(Contender::Plain.mode(Mode::Pipelined(8)), Some(Mode::PipelinedSet(8)));
        assert_eq!(Contender::ValkeyPlain.mode(Mode::Reads), Some(Mode::Get));
        assert_eq!(Contender::ValkeyZset.mode(Mode::Madd(64)), Some(Mode::Madd(64)));
        assert_eq!(Contender::Plain.mode(Mode::Madd(64)), None);
        assert_eq!(Contender::Plain.mode(Mode::Mixed(0.5)), None);
        assert_eq!(Contender::Windrow.mode(Mode::Set), None);
    }
}
