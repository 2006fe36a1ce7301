//! While one contender is measured, the others are left alone.

use crate::misbehaving::{Answer, Misbehaving};
use clap::Parser;
use std::sync::{Arc, Mutex};
use windrow_bench::cli::{Cli, Command};
use windrow_bench::compare::{self, Member};
use windrow_bench::contender::Contender;
use windrow_bench::control::Greeting;
use windrow_bench::run::Server;
use windrow_bench::workload::{Mode, Target};

#[test]
fn the_server_of_one_contender_is_not_loaded_while_another_is_measured() {
    const ROUNDS: usize = 3;
    const REQUESTS: usize = 60;
    let journal = Arc::new(Mutex::new(String::new()));
    let servers: Vec<Misbehaving> = ['A', 'B']
        .map(|name| {
            let journal = journal.clone();
            Misbehaving::start(move |_| {
                journal.lock().unwrap().push(name);
                Answer::Reply(b"+OK\r\n")
            })
        })
        .into();
    let line = format!("windrow-bench compare --rounds {ROUNDS} -n {REQUESTS} -c 4 --threads 2");
    let Command::Compare(args) = Cli::parse_from(line.split(' ')).command else { panic!("not a comparison") };
    let members: Vec<Member> = servers
        .iter()
        .map(|server| {
            let greeting = Greeting::default();
            let server = Server { addr: server.addr.clone(), target: Target::Null, greeting, pid: None };
            Member { contender: Contender::Null, server, identity: Some("null 1.0".to_owned()) }
        })
        .collect();
    let line = compare::line(&args.comparison().unwrap(), &members, Mode::Events, 8).unwrap();
    assert_eq!(line.results.len(), 2);
    assert!(line.results.iter().all(|result| result.identity.as_deref() == Some("null 1.0")));
    let turn = "A".repeat(REQUESTS) + &"B".repeat(REQUESTS);
    assert_eq!(*journal.lock().unwrap(), turn.repeat(ROUNDS));
}
