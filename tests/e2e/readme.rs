//! Every command of the README works, in its order, on a fresh server: the lines of ```redis blocks and the lines that
//! start with `redis-cli`.

use std::fs;
use std::process::{Command, Stdio};

use windrow_tests::server::{Launch, repository};

use crate::clients::have;

#[test]
fn every_command_of_the_readme_works() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("there is a README.md");
    if !have("redis-cli") {
        return;
    }
    let lines = command_lines(&readme);
    assert!(
        !lines.is_empty(),
        "README.md has neither a ```redis block nor a redis-cli line in a fenced block"
    );
    let server = Launch::shards(2).start();
    for line in lines {
        let mut command = match &line {
            Line::Shell(arguments) => {
                let mut bash = Command::new("bash");
                bash.arg("-c").arg(format!("redis-cli -e -p {} {arguments}", server.port()));
                bash
            }
            Line::Redis(words) => {
                assert!(!words.contains(['"', '\'']), "this test does not know redis-cli's quoting: {words}");
                let mut cli = Command::new("redis-cli");
                cli.args(["-e", "-p", &server.port().to_string()]).args(words.split_whitespace());
                cli
            }
        };
        // -e: an error reply is a failure.
        let output = command.stdin(Stdio::null()).output().expect("redis-cli can be run");
        let shown =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "README.md: {line:?}\n{shown}");
    }
}

/// A line to be typed.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// What follows `redis-cli`, without a port.
    Shell(String),
    /// Typed into redis-cli.
    Redis(String),
}

/// The lines of fenced blocks, prompts removed, continuation lines joined.
fn command_lines(readme: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut fence: Option<&str> = None;
    let mut open = String::new();
    for line in readme.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language.trim()) };
            continue;
        }
        let Some(language) = fence else { continue };
        open += line.trim();
        if let Some(start) = open.strip_suffix('\\') {
            open.truncate(start.len());
            continue;
        }
        let whole = std::mem::take(&mut open);
        let shell = whole.trim_start_matches("$ ").strip_prefix("redis-cli ");
        if let Some(arguments) = shell {
            lines.push(Line::Shell(without_port(arguments).to_owned()));
        } else if language == "redis" && !whole.is_empty() && !whole.starts_with('#') {
            lines.push(Line::Redis(whole));
        }
    }
    lines
}

fn without_port(arguments: &str) -> &str {
    let arguments = arguments.trim_start();
    match arguments.strip_prefix("-p ") {
        Some(rest) => rest.trim_start().split_once(' ').map_or("", |(_port, rest)| rest),
        None => arguments,
    }
}

#[test]
fn commands_are_found_in_fenced_blocks_only() {
    let readme = "redis-cli no\n```sh\n$ redis-cli -p 7379 PING\nother\nredis-cli STREAM.CREATE s \\\n    WINDOWS 5m\n```\n\
                  WINDOW.GET no\n```redis\n# first\nWINDOW.GET e s\n\n```\n";
    let expected = [
        Line::Shell("PING".into()),
        Line::Shell("STREAM.CREATE s WINDOWS 5m".into()),
        Line::Redis("WINDOW.GET e s".into()),
    ];
    assert_eq!(command_lines(readme), expected);
}
