//! What somebody who uses the generator for the first time trips over: each message says what to do.

use crate::misbehaving::{Answer, Misbehaving};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn windrow_bench(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windrow-bench"));
    command.args(line.split(' '));
    command
}

/// The exit code, and all that was said.
fn run(line: &str) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = windrow_bench(line).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn a_server_that_refuses_leads_to_the_option_that_helps() {
    for (reply, more, needed) in [
        (&b"-NOAUTH Authentication required.\r\n"[..], "", "--password"),
        (b"-ERR Protocol error: unauthenticated multibulk length\r\n", "", "--password"),
        (b"-WRONGPASS invalid username-password pair\r\n", " --password hunter2", "--user and --password"),
        (
            b"-WRONGPASS invalid username-password pair\r\n",
            " --resp3 --password hunter2",
            "--user and --password",
        ),
        (b"-NOPERM this user has no permissions\r\n", "", "--user"),
        (b"-ERR unknown command 'STREAM.CREATE'\r\n", "", "--target"),
        (b"-ERR unknown command 'FUNCTION'\r\n", " --target lua", "--target"),
        (b"-ERR max number of clients reached\r\n", "", "-c"),
    ] {
        let server = Misbehaving::start(move |_| Answer::Reply(reply));
        let (code, said) = run(&format!("run --addr {} -n 10{more}", server.addr));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(needed), "{needed} is missing in {said}");
        assert!(said.contains(std::str::from_utf8(&reply[1..reply.len() - 2]).unwrap()), "{said}");
        assert!(!said.contains("hunter2"), "a password is shown: {said}");
        assert!(said.lines().count() <= 2, "more than the beginning of a script: {said}");
    }
}

#[test]
fn commands_of_another_kind_of_server_lead_to_the_option_that_helps() {
    let server = Misbehaving::start(|_| Answer::Reply(b"-ERR unknown command 'ZADD'\r\n"));
    let (code, said) = run(&format!("run --addr {} --target redis -n 10", server.addr));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("unknown command 'ZADD'") && said.contains("--target says"), "{said}");
}

#[test]
fn a_server_that_speaks_something_else_is_no_riddle() {
    for answer in [|| Answer::Hangup, || Answer::Reply(b"\x15\x03\x01\x00\x02\x02\x46\r\n")] {
        let server = Misbehaving::start(move |_| answer());
        let (code, said) = run(&format!("run --addr {} -n 10", server.addr));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("without TLS?"), "{said}");
    }
}

#[test]
fn an_address_that_is_none_is_shown_what_one_looks_like() {
    for address in ["localhost", "redis://127.0.0.1:1"] {
        let (code, said) = run(&format!("run --addr {address} -n 1"));
        assert!(code == Some(1) && said.contains("an address is host:port"), "{said}");
    }
}

#[test]
fn a_port_that_another_program_has_leads_to_another_one() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = run(&format!("null --listen {}", taken.local_addr().unwrap()));
    assert!(code == Some(1) && said.contains("--listen names another"), "{said}");
}

#[test]
fn a_count_of_no_requests_measures_nothing_and_is_refused() {
    let (code, said) = run("run --addr 127.0.0.1:1 -n 0");
    assert!(code == Some(2) && said.contains("of no requests"), "{said}");
}

#[test]
fn results_for_a_standard_output_that_nobody_reads_end_a_run_quietly() {
    let server = Misbehaving::start(|_| Answer::Reply(b"+OK\r\n"));
    let line = format!("run --target null --addr {} -n 100 --json /dev/stdout", server.addr);
    let mut child = windrow_bench(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 13));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_run_that_no_terminal_shows_says_now_and_then_how_far_it_is() {
    let server = Misbehaving::start(|_| Answer::Reply(b"+OK\r\n"));
    let line = format!("run --target null --addr {} -c 1 --rate 100 --warmup 0 -d 6 --drain 60", server.addr);
    let (_, said) = run(&line);
    let shown = said.lines().find(|line| line.contains(" % ") && line.contains(" /s  events 127.0.0.1:"));
    assert!(shown.is_some(), "{said}");
}
