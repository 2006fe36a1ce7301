//! Faults below the real server: the power of its file system, its system calls, the room on its disk. A short round of each;
//! `windrow-crash nightly` tries them for hours.

use std::io::{self, Write};

use rstest::rstest;
use windrow_tests::crash::calls::{CASES, Expect};
use windrow_tests::crash::mount::{self, Kind};
use windrow_tests::crash::{calls, full, power};
use windrow_tests::seed::seed;

/// Whether this machine lets us; if not, `./test` repeats the line in its summary.
fn can(what: &str, available: io::Result<()>) -> bool {
    if let Err(error) = &available {
        // Not println!: that is shown only when the test fails.
        let _ = writeln!(io::stderr(), "SKIP: {what} not tried: {error}");
    }
    available.is_ok()
}

fn cut_power(kind: Kind, mode: &str, promised: &str) -> Option<windrow_tests::crash::outcome::Outcome> {
    if !can(&format!("power cuts of {}", kind.name()), mount::available(kind)) {
        return None;
    }
    let (mode, promised) = (mode.to_owned(), promised.to_owned());
    let plan = power::Plan { kind, mode, promised, cuts: 2, shards: vec![1, 4], seed: seed() };
    Some(power::run(&plan).expect("what was available is so still"))
}

#[rstest]
fn a_power_cut_takes_back_no_more_than_the_mode_allows(
    #[values(Kind::Ext4, Kind::Xfs)] kind: Kind,
    #[values("always", "everysec", "no")] mode: &str,
) {
    if let Some(outcome) = cut_power(kind, mode, mode) {
        outcome.assert_kept();
    }
}

#[test]
fn a_power_cut_that_takes_back_what_was_acknowledged_is_noticed() {
    if let Some(outcome) = cut_power(Kind::Ext4, "no", "always") {
        assert!(outcome.findings.lost > 0, "nothing synced, and nothing missed: {outcome}");
    }
}

#[rstest]
fn calls_that_fail_or_take_long_lose_nothing(
    #[values(Expect::Failed, Expect::NoRoom, Expect::NoRefusal)] expect: Expect,
) {
    if !can("failing system calls", calls::available()) {
        return;
    }
    for case in CASES.iter().filter(|case| case.expect == expect) {
        let plan = calls::Plan { case: *case, rounds: 1, shards: 2, seed: seed() };
        calls::run(&plan).expect("what was available is so still").assert_kept();
    }
}

#[rstest]
#[case(Kind::Tmpfs, "always")]
#[case(Kind::Ext4, "everysec")]
fn a_full_disk_refuses_writes_until_there_is_room(#[case] kind: Kind, #[case] mode: &str) {
    if can(&format!("a full {}", kind.name()), mount::available(kind)) {
        let plan = full::Plan { kind, mode: mode.to_owned(), rounds: 1, shards: 2, seed: seed() };
        full::run(&plan).expect("what was available is so still").assert_kept();
    }
}
