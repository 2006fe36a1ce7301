//! Peers that take each other's commands are told apart.

use crate::misbehaving::{Answer, Misbehaving};
use crate::stand_in::StandIn;
use std::process::Command;
use windrow_bench::contender::{Contender, identity, missing};
use windrow_bench::control::Greeting;
use windrow_bench::run::Server;
use windrow_bench::workload::Target;

/// The arguments with which a stand-in was started, a line each time.
const NOTE: &str = "echo \"$@\" >> FOLDER/noted";

const REDIS: &[u8] = b"$22\r\nredis_version:7.0.15\r\n\r\n";
const VALKEY: &[u8] = b"$43\r\nredis_version:7.2.4\r\nvalkey_version:8.1.1\r\n\r\n";

/// What Redis 7.0 answers to MODULE LIST with RedisTimeSeries 1.8.23 loaded.
const MODULES: &[u8] = b"*1\r\n*8\r\n$4\r\nname\r\n$10\r\ntimeseries\r\n$3\r\nver\r\n:10823\r\n\
    $4\r\npath\r\n$6\r\n/ts.so\r\n$4\r\nargs\r\n*0\r\n";

#[test]
fn figures_of_one_product_do_not_stand_in_the_line_of_another() {
    let identity = |contender: Contender, info: &'static [u8]| {
        let server = Misbehaving::start(move |_| Answer::Reply(info));
        let (addr, greeting) = (server.addr.clone(), Greeting::default());
        identity(contender, &Server { addr, target: Target::Redis, greeting, pid: None })
    };
    assert_eq!(identity(Contender::Zset, REDIS).unwrap().as_deref(), Some("Redis 7.0.15"));
    assert_eq!(identity(Contender::ValkeyZset, VALKEY).unwrap().as_deref(), Some("Valkey 8.1.1"));
    assert_eq!(identity(Contender::Zset, b"+OK\r\n").unwrap(), None);
    let error = identity(Contender::Plain, VALKEY).unwrap_err().to_string();
    assert!(error.contains("Redis SET/GET") && error.contains("Valkey 8.1.1"), "{error}");
    let error = identity(Contender::ValkeyHash, REDIS).unwrap_err().to_string();
    assert!(error.contains("Valkey hash") && error.contains("--valkey-bin"), "{error}");
}

#[test]
fn a_module_is_named_with_its_version() {
    let server = Misbehaving::start(|n| Answer::Reply(if n == 0 { REDIS } else { MODULES }));
    let (addr, greeting) = (server.addr.clone(), Greeting::default());
    let server = Server { addr, target: Target::Ts, greeting, pid: None };
    let identity = identity(Contender::Ts, &server).unwrap();
    assert_eq!(identity.as_deref(), Some("Redis 7.0.15 with RedisTimeSeries 1.8.23"));
    assert_eq!(missing(Contender::Ts, &server).unwrap(), None);
    let without = Misbehaving::start(|_| Answer::Reply(b"*0\r\n"));
    let why = missing(Contender::Ts, &Server { addr: without.addr.clone(), ..server }).unwrap();
    assert!(why.unwrap().contains("--ts-module"));
}

/// The module is told of every key that is set or expires, which would cost the others time.
#[test]
fn the_module_of_time_series_is_loaded_by_their_contender_alone() {
    let line = "compare --contenders null,plain,ts -m events -P 1 --rounds 1 -n 50 -c 1 --ts-module";
    let stand_in = StandIn::called("redis-server", NOTE);
    let mut command = stand_in.windrow_bench_with_path(line);
    let output = command.arg("modules/ts.so CHUNK_SIZE_BYTES 128").output().unwrap();
    let noted = stand_in.text("noted");
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<&str> = noted.lines().collect();
    let [plain, ts] = lines[..] else { panic!("{noted}") };
    assert!(!plain.contains("loadmodule"), "{noted}");
    // A server has a directory of its own: the path is not relative any more.
    let module = stand_in.path("modules/ts.so");
    let loads = format!(
        "--loadmodule {} CHUNK_SIZE_BYTES 128 RETENTION_POLICY 3660000 DUPLICATE_POLICY SUM",
        module.display()
    );
    assert!(ts.ends_with(&loads), "{noted}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("; ts loads ") && table.contains("modules/ts.so CHUNK_SIZE_BYTES 128"), "{table}");
    // Null shows no modules.
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("RedisTimeSeries is left out") && said.contains("--ts-module"), "{said}");
}

/// The null responder in the place of Valkey.
#[test]
fn valkey_is_started_by_its_own_name_and_has_lines_of_its_own() {
    let line = "compare --contenders null,valkey-plain -m events -P 1 --rounds 1 -n 50 -c 1 --valkey-args";
    let stand_in = StandIn::called("valkey-server", NOTE);
    let output = stand_in.windrow_bench_with_path(line).arg("--io-threads=1").output().unwrap();
    let noted = stand_in.text("noted");
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("| Valkey SET/GET |") && table.contains("Valkey likewise --io-threads=1"),
        "{table}"
    );
    assert!(noted.contains("--appendonly no") && noted.trim_end().ends_with("--io-threads=1"), "{noted}");
}

#[test]
fn a_peer_that_is_not_there_is_an_error_that_says_how_to_name_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windrow-bench"));
    command.args("compare --contenders null,valkey-zset --valkey-bin no-such-valkey -n 1".split(' '));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no-such-valkey") && text.contains("--valkey-bin"), "{text}");
}
