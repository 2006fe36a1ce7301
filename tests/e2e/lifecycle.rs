//! Starting and stopping, by a person at a terminal.

use std::process::{Command, Stdio};
use std::time::Duration;

use windrow_tests::server::{Home, Launch, binary, free_port, wait_for_exit};

/// For a command that must end by itself.
const END_WAIT: Duration = Duration::from_secs(30);

#[test]
fn a_second_server_on_one_directory_is_refused_with_a_reason() {
    let server = Launch::shards(1).start();
    let error =
        refused(&["--dir", server.home().data().to_str().unwrap(), "--port", &free_port().to_string()]);
    assert!(error.contains(server.home().data().to_str().unwrap()), "the directory is not named: {error}");
    assert_eq!(server.connect().cmd("PING").text(), "PONG");
}

#[test]
fn a_taken_port_is_refused_with_a_reason() {
    let server = Launch::shards(1).start();
    let home = Home::new();
    let port = server.port().to_string();
    let error = refused(&["--dir", home.data().to_str().unwrap(), "--port", &port]);
    assert!(error.contains(&port), "the port is not named: {error}");
}

#[test]
fn a_clean_stop_keeps_everything_and_ends_with_success() {
    let server = Launch::shards(2).start();
    server.connect().ok("STREAM.CREATE s WINDOWS 1h all AGGREGATE count");
    server.connect().ok("EVENT.ADD e s *");
    let server = Launch::shards(2).start_in(server.stop());
    assert_eq!(server.connect().cmd("WINDOW.GET e s count:all").into_elements()[0].int(), 1);
}

#[test]
fn unknown_options_and_values_are_named() {
    for (options, named) in [
        (&["--nonsense"][..], "nonsense"),
        (&["--port", "70000"], "70000"),
        (&["--appendfsync", "maybe"], "maybe"),
    ] {
        let error = refused(options);
        assert!(error.contains(named), "{options:?}: {error}");
    }
}

/// Runs `windrow serve` with options that it must refuse; returns what it said.
fn refused(options: &[&str]) -> String {
    let mut child = Command::new(binary())
        .arg("serve")
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    let Some(status) = wait_for_exit(&mut child, END_WAIT) else {
        let _ = child.kill();
        panic!("windrow serve {options:?} should have been refused, but runs");
    };
    let output = child.wait_with_output().expect("its output can be read");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!status.success(), "windrow serve {options:?} ended with success: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}
