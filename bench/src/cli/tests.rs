//! What the command line makes of its options.

use super::load::OPEN_LOOP_PIPELINE;
use super::{Cli, Command, ScenarioPlan};
use crate::arrivals::Spacing;
use crate::contender::Contender;
use crate::entities::Distribution;
use crate::run::Background;
use crate::targets::Row;
use crate::workload::{Mode, Target};
use crate::workload_file::WorkloadFile;
use clap::{CommandFactory, Parser};
use std::time::Duration;

fn parse(line: &str) -> Command {
    Cli::try_parse_from(line.split(' ')).unwrap().command
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_run_takes_its_settings_from_the_flags() {
    let line = "windrow-bench run --target redis --addr h:1 -m mget:100 -P 16 -c 8 --entities 500 --distribution \
                zipf:0.99 --rate 20000 --arrivals constant --background events:64@500 --duration 0.5 --warmup 0 --fill --server-pid 42";
    let Command::Run(args) = parse(line) else { panic!("not a run") };
    let (server, mode, load, fill) = args.plan().unwrap();
    assert_eq!((server.target, server.addr.as_str(), server.pid), (Target::Redis, "h:1", Some(42)));
    assert_eq!((mode, load.pipeline, load.connections, load.entities), (Mode::Mget(100), 16, 8, 500));
    assert_eq!(load.distribution, Distribution::Zipf { theta: 0.99 });
    assert_eq!(load.rate, Some((20_000.0, Spacing::Constant)));
    let background = Background { mode: Mode::Pipelined(64), rate_per_s: 500.0, connections: 10 };
    assert_eq!(load.background, Some(background));
    assert_eq!((load.duration, load.warmup, fill), (Duration::from_millis(500), Duration::ZERO, true));
}

fn workload(name: &str, more: &str) -> Result<WorkloadFile, String> {
    let path = format!("{}/workloads/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let line = format!("windrow-bench run --workload {path} {more}");
    let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
    let Command::Run(args) = cli.command else { panic!("not a run") };
    args.file().map(Option::unwrap).map_err(|error| error.to_string())
}

#[test]
fn times_and_the_seed_of_a_workload_file_yield_to_those_given() {
    let (file, given) =
        (workload("fraud", "").unwrap(), "-d 2.5 --warmup 1.5 --drain 1.25 --seed 9 --scale 0.5");
    let changed = workload("fraud", given).unwrap();
    let load = &changed.load;
    assert_eq!((load.duration, load.warmup, load.drain, load.seed), (2.5, 1.5, 1.25, 9));
    assert_eq!(changed.request[0].rate, file.request[0].rate.map(|rate| rate / 2.0));
    assert_eq!((file.load.duration, file.load.warmup, file.load.seed), (10.0, 3.0, 1));
}

#[test]
fn what_a_workload_file_has_no_place_for_is_refused() {
    for more in ["--key-prefix k", "--key-size 20", "--background-connections 3", "-n 5", "--ramp 1"] {
        assert!(workload("fraud", more).is_err(), "{more}");
    }
    for (name, more, expected) in [
        ("fraud", "--scale 0", "above 0"),
        ("fraud", "--warmup 0.5", "a ramp of 1s in a warm-up of 500ms"),
        ("closed-loop", "--scale 2", "closed loop"),
    ] {
        let error = workload(name, more).unwrap_err();
        assert!(error.contains(expected), "{more}: {error}");
    }
}

#[test]
fn a_closed_loop_has_a_pipeline_of_one_and_an_open_loop_room() {
    for (line, pipeline) in [("windrow-bench run", 1), ("windrow-bench run --rate 100", OPEN_LOOP_PIPELINE)] {
        let Command::Run(args) = parse(line) else { panic!("not a run") };
        assert_eq!(args.plan().unwrap().2.pipeline, pipeline);
    }
}

#[test]
fn a_comparison_lists_modes_and_pipelines() {
    let line = "windrow-bench compare --contenders windrow,zset -m events,madd:64 -P 1,64 --rounds 5";
    let Command::Compare(args) = parse(line) else { panic!("not a comparison") };
    let comparison = args.comparison().unwrap();
    assert_eq!(comparison.contenders, [Contender::Windrow, Contender::Zset]);
    assert_eq!(comparison.modes, [Mode::Events, Mode::Madd(64)]);
    assert_eq!((comparison.pipelines, comparison.rounds), (vec![1, 64], 5));
    assert_eq!(comparison.programs.windrow_args, ["--shards", "1"]);
}

#[test]
fn targets_are_all_quick_rows_unless_named() {
    let Command::Targets(args) = parse("windrow-bench targets") else { panic!("no targets") };
    assert_eq!(args.plan().unwrap().rows, Row::QUICK);
    let line = "windrow-bench targets --rows C1,c8 --rounds 1 -d 0.5 --large-entities 5000";
    let Command::Targets(args) = parse(line) else { panic!("no targets") };
    let plan = args.plan().unwrap();
    assert_eq!((plan.rows, plan.rounds, plan.large_entities), (vec![Row::C1, Row::C8], 1, 5000));
    assert_eq!(plan.load.duration, Duration::from_millis(500));
}

#[test]
fn capacity_takes_the_scale_and_the_arguments_it_is_given() {
    let plan = |more: &[&str]| {
        let line = [&["windrow-bench", "scenario", "capacity"], more].concat();
        let Command::Scenario(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("no scenario")
        };
        args.plan().map(|plan| match plan {
            ScenarioPlan::Rows(plan) => (plan.programs.windrow_args, plan.open_loop_scale),
            ScenarioPlan::File(_) => panic!("a file"),
        })
    };
    assert_eq!(plan(&[]).unwrap(), (Vec::new(), 1.0));
    let given = plan(&["--scale", "0.5", "--windrow-args", "--maxmemory 9gb --shards 1"]).unwrap();
    assert_eq!(given, (vec!["--maxmemory".to_owned(), "9gb".to_owned()], 0.5));
    for (bad, expected) in
        [(["--scale", "auto"], "auto"), (["--windrow-args", "--shards 2"], "--shards 1, not with")]
    {
        assert!(plan(&bad).unwrap_err().to_string().contains(expected), "{bad:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bad in [
        "windrow-bench",
        "windrow-bench run -m nonsense",
        "windrow-bench run --distribution zipf",
        "windrow-bench run --arrivals constant",
        "windrow-bench run -n 5 -d 5",
        "windrow-bench run --background events@5",
        "windrow-bench run --rate 5 --background events",
        "windrow-bench run --user risk",
        "windrow-bench targets --rows C11",
    ] {
        assert!(Cli::try_parse_from(bad.split(' ')).is_err(), "{bad}");
    }
    let Command::Run(args) = parse("windrow-bench run --duration=-1") else { panic!("not a run") };
    assert!(args.plan().is_err());
}
