//! More is asked of a server than it can do: that is no mistake of its, and is told apart from one.

use crate::misbehaving::{Answer, Misbehaving};
use crate::stand_in::StandIn;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

/// What each reply of the slow server takes: it answers 500 a second at most, and is asked for 5,000.
const SLOW: Duration = Duration::from_millis(2);

const ASKED: &str = "-c 4 -P 16 --rate 5000 --arrivals constant -d 0.5 --warmup 0 --drain 1";

fn slow(last: &'static [u8]) -> Misbehaving {
    Misbehaving::start(move |n| {
        thread::sleep(SLOW);
        Answer::Reply(if n == 20 { last } else { b"+OK\r\n" })
    })
}

fn run(server: &Misbehaving, arguments: &str) -> Output {
    let line = format!("run --target null --addr {} {arguments}", server.addr);
    Command::new(env!("CARGO_BIN_EXE_windrow-bench")).args(line.split(' ')).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_server_that_cannot_keep_up_is_overloaded_and_not_wrong() {
    let output = run(&slow(b"+OK\r\n"), ASKED);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("OVERLOADED  events: ") && text.contains("of 5,000 requests/s answered"), "{text}");
    assert!(text.contains("p99 ≥ ") && !text.contains("WRONG"), "{text}");
}

#[test]
fn a_count_that_falls_due_faster_than_the_server_answers_is_an_overload_though_every_reply_comes() {
    let output = run(&slow(b"+OK\r\n"), "-c 4 -P 16 --rate 5000 --arrivals constant -n 500 --drain 60");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("of 5,0") && text.contains("p99 ≥ ") && !text.contains("WRONG"), "{text}");
}

#[test]
fn a_server_that_works_off_all_it_was_asked_is_overloaded_all_the_same() {
    // At most 500 a second of 600 asked for: a sixth, less than falls due in a stall of 0.2 s.
    let output =
        run(&slow(b"+OK\r\n"), "-c 1 -P 1000 --rate 600 --arrivals constant -d 1 --warmup 0 --drain 60");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("OVERLOADED") && text.contains(" 0 still when"), "{text}");
}

#[test]
fn a_wrong_reply_of_an_overloaded_server_is_wrong_still() {
    let output = run(&slow(b"-OOM memory is full\r\n"), ASKED);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("OVERLOADED") && text.contains("WRONG       1 reply, 0 missing"), "{text}");
    assert!(text.contains("-OOM memory is full"), "{text}");
}

#[test]
fn a_server_that_falls_silent_has_no_overload_for_an_excuse() {
    let server = Misbehaving::start(|n| if n < 100 { Answer::Reply(b"+OK\r\n") } else { Answer::Nothing });
    let output = run(&server, &ASKED.replace("--drain 1", "--drain 6"));
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("WRONG       0 replies, 2,400 missing"), "{text}");
}

#[test]
fn a_connection_that_loses_its_replies_is_not_excused_by_others_that_work() {
    let server = Misbehaving::start(|n| {
        thread::sleep(SLOW);
        if n == 40 { Answer::Mute } else { Answer::Reply(b"+OK\r\n") }
    });
    let output = run(&server, ASKED);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("WRONG       0 replies, 16 missing"), "{text}");
}

/// A comparison at 5,000 requests a second of the null responder with a Redis whose place a responder of 500 commands a second takes.
#[test]
fn an_overloaded_peer_of_a_comparison_is_named_with_the_rate_it_reached() {
    let stand_in = StandIn::slow("overload", "", 2_000);
    let line = format!("compare --contenders null,plain -m events --rounds 2 {ASKED} --json results.json");
    let output = stand_in.windrow_bench(&line).output().unwrap();
    let results = stand_in.json("results.json");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("| Redis SET/GET (overloaded) |") && !text.contains("WRONG"), "{text}");
    assert_eq!(text.matches("OVERLOADED: set on Redis SET/GET, round").count(), 2, "{text}");
    for round in results["lines"][0]["results"][1]["rounds"].as_array().unwrap() {
        let overload = &round["overload"];
        let number = |name: &str| overload[name].as_f64().unwrap();
        assert_eq!(number("asked_per_s"), 5_000.0, "{overload}");
        // Half a second at 500 a second, of 2,500; and a second for the rest.
        assert!(number("reached_per_s") <= 600.0 && number("behind") >= 2_000.0, "{overload}");
        assert!(number("outstanding") >= 1_500.0, "{overload}");
        assert_eq!((&round["errors"], &round["lost"]), (&0.into(), &0.into()));
    }
}
