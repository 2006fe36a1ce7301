//! Peers that take each other's commands are told apart.

use crate::misbehaving::{Answer, Misbehaving};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use windrow_bench::contender::{Contender, identity};
use windrow_bench::control::Greeting;
use windrow_bench::run::Server;
use windrow_bench::workload::Target;

const REDIS: &[u8] = b"$22\r\nredis_version:7.0.15\r\n\r\n";
const VALKEY: &[u8] = b"$43\r\nredis_version:7.2.4\r\nvalkey_version:8.1.1\r\n\r\n";

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

/// The null responder in the place of Valkey.
#[test]
fn valkey_is_started_by_its_own_name_and_has_lines_of_its_own() {
    let folder = std::env::temp_dir().join(format!("windrow-bench-test-{}-valkey", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("valkey-server");
    let bench = env!("CARGO_BIN_EXE_windrow-bench");
    let script = format!(
        "#!/bin/sh\necho \"$@\" > {}/noted\nexec {bench} null --listen 127.0.0.1:$2\n",
        folder.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let line = "compare --contenders null,valkey-plain -m events -P 1 --rounds 1 -n 50 -c 1 --valkey-args";
    let mut command = Command::new(bench);
    command.args(line.split(' ')).arg("--io-threads=1").env("PATH", path);
    let output = command.output().unwrap();
    let noted = std::fs::read_to_string(folder.join("noted")).unwrap_or_default();
    std::fs::remove_dir_all(&folder).unwrap();
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
