//! What a workload file says is what is sent, and what makes no sense is refused.

use super::WorkloadFile;
use crate::entities::EntitySource;
use crate::template::Draw;
use std::path::Path;

const FILE: &str = r#"
    title = "rides"
    [[stream]]
    name = "rides"
    definition = "FIELDS fare FLOAT rider STRING WINDOWS 10m@30s AGGREGATE count sum(fare) distinct(rider) DEDUP 1m"
    [names.zone]
    count = 100
    prefix = "z"
    bytes = 3
    [names.rider]
    count = 1000
    prefix = "r"
    bytes = 4
    distribution = "zipf:0.99"
    [[request]]
    name = "events"
    command = "madd"
    stream = "rides"
    entities = "zone"
    rows = 2
    rate = 1000.0
    id = true
    duplicate_share = 0.5
    values.fare = { float = { from = 5.0, to = 5.0 } }
    values.rider = { names = "rider" }
    time = { late_share = 1.0, late_mean_ms = 0.001 }
    [[request]]
    name = "reads"
    command = "get"
    stream = "rides"
    entities = "zone"
    rate = 500
    connections = 3
    options = ["HOP", "30s"]
    features = ["count:10m"]
    accept = { p99_ms = 3 }
"#;

fn sent(file: &WorkloadFile, request: usize) -> String {
    let workload = file.workload(&file.request).unwrap();
    let spaces = std::iter::repeat_n(EntitySource::sequential(7, 50), 1 + workload.spaces.len());
    let mut draw = Draw::with(spaces.collect(), workload.texts, workload.offsets, 0);
    draw.set_now_ms(1_700_000_000_000);
    let mut out = Vec::new();
    workload.requests[request].template.write(&mut out, &mut draw);
    let text = String::from_utf8(out).unwrap();
    text.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn requests_say_what_the_file_says() {
    let file = WorkloadFile::parse(FILE).unwrap();
    assert_eq!(
        sent(&file, 0),
        "EVENT.MADD rides FIELDS 2 fare rider WITHIDS EVENTS z07 1700000000000 0000000000000001 5.00 r007 \
         z08 1700000000000 0000000000000002 5.00 r008"
    );
    assert_eq!(sent(&file, 1), "WINDOW.GET z07 rides HOP 30s count:10m");
    let schedule = file.schedule().unwrap();
    assert_eq!(schedule.groups, [50, 3]);
    let lanes: Vec<_> =
        schedule.lanes.iter().map(|lane| (lane.request, lane.rate_per_s, lane.group)).collect();
    assert_eq!(lanes, [(0, 1000.0, 0), (1, 500.0, 1)]);
    assert_eq!(file.request[1].accept.unwrap().p99_ms, Some(3.0));
}

#[test]
fn the_other_commands_are_made_too() {
    let file = |command: &str, more: &str| {
        let text = format!(
            "title = 't'\n[names.e]\ncount = 100\nprefix = 'e'\nbytes = 3\n[[request]]\nname = 'r'\nstream = 's'\n\
             entities = 'e'\ncommand = '{command}'\n{more}"
        );
        WorkloadFile::parse(&text).unwrap()
    };
    let int = "values.n = { int = { from = 3, to = 3 } }";
    assert_eq!(sent(&file("add", int), 0), "EVENT.ADD e07 s 1700000000000 n 3");
    assert_eq!(
        sent(&file("mget", "rows = 2\nfeatures = ['count:1h']"), 0),
        "WINDOW.MGET 2 e07 e08 s count:1h"
    );
    let unlike = |rows: u32| format!("rows = {rows}\nrepeats = false\nfeatures = ['count:1h']");
    let sent_unlike = sent(&file("mget", &unlike(50)), 0);
    let met: std::collections::BTreeSet<&str> =
        sent_unlike.split(' ').filter(|word| word.starts_with('e')).collect();
    assert_eq!(met.len(), 50, "{sent_unlike}");
    assert_eq!(sent(&file("top", "rows = 9\nfeatures = ['count:1h']"), 0), "WINDOW.TOP s count:1h 9");
}

#[test]
fn a_fill_has_a_count_and_no_rate() {
    let fill = "[[fill]]\nname = 'f'\ncommand = 'add'\nstream = 'rides'\nentities = 'zone'\n";
    let with = |more: &str| {
        WorkloadFile::parse(&FILE.replace(
            "[[request]]\n    name = \"events\"",
            &format!("{fill}{more}\n[[request]]\nname = \"events\""),
        ))
    };
    assert_eq!(with("requests = 10").unwrap().fill[0].requests, Some(10));
    for more in ["", "requests = 0", "requests = 10\nrate = 5"] {
        assert!(with(more).unwrap_err().to_string().contains("fill f"), "{more}");
    }
}

#[test]
fn a_sequential_fill_visits_each_entity_once_whatever_its_values_are() {
    let fill = "[[fill]]\nname = 'f'\ncommand = 'madd'\nstream = 'rides'\nentities = 'rider'\nrows = 50\nrequests = 20\n\
                order = 'sequential'\nvalues.rider = { names = 'rider' }\n";
    let request = "[[request]]\n    name = \"events\"";
    let text = FILE.replace(request, &format!("{fill}{request}"));
    let file = WorkloadFile::parse(&text).unwrap();
    let workload = file.workload(&file.fill).unwrap();
    let mut draws = crate::run::draws(&workload, &file.load().unwrap(), None, 0).unwrap();
    let mut out = Vec::new();
    for _ in 0..20 {
        workload.requests[0].template.write(&mut out, &mut draws[0]);
    }
    let text = String::from_utf8(out).unwrap();
    // Each row is the entity, the time and the value.
    let words: Vec<&str> = text.split("\r\n").collect();
    let entities = words.iter().zip(words.iter().skip(2)).filter(|(_, next)| next.len() == 13);
    let found: Vec<String> = entities.map(|(entity, _)| (*entity).to_owned()).collect();
    let expected: Vec<String> = (0..1000).map(|n| format!("r{n:03}")).collect();
    assert_eq!(found, expected);
    let drawn = FILE.replace("rate = 500", "rate = 500\norder = 'drawn'");
    assert!(WorkloadFile::parse(&drawn).unwrap_err().to_string().contains("only a [[fill]]"));
}

#[test]
fn like_fields_do_not_have_like_values() {
    let fields = "values.fare = { float = { from = 1.0, to = 9.0 } }\n values.tip = { float = { from = 1.0, to = 9.0 } }";
    let text = FILE.replace("values.fare = { float = { from = 5.0, to = 5.0 } }", fields);
    let mut texts = WorkloadFile::parse(&text).and_then(|file| file.workload(&file.request)).unwrap().texts;
    let (mut tip, mut fare) = (texts.pop().unwrap(), texts.pop().unwrap());
    let same = (0..1000).filter(|_| fare.next() == tip.next()).count();
    assert!(same < 100, "{same} of 1,000 are the same");
}

#[test]
fn every_file_that_comes_with_the_generator_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let count = files.inspect(|path| drop(WorkloadFile::read(path).unwrap())).count();
    assert!(count >= 5, "only {count} files");
}

#[test]
fn scaled_rates_are_all_multiplied() {
    let mut file = WorkloadFile::parse(FILE).unwrap();
    file.scale_rates(0.5);
    assert_eq!(
        file.request.iter().map(|request| request.rate).collect::<Vec<_>>(),
        [Some(500.0), Some(250.0)]
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_the_place() {
    for (old, new, expected) in [
        ("rate = 500", "", "either every"),
        ("rate = 500", "rate = -1", "above 0"),
        ("entities = \"zone\"", "entities = \"town\"", "names.town"),
        ("names = \"rider\"", "names = \"driver\"", "names.driver"),
        ("count = 1000", "count = 100000", "do not tell 100000 apart"),
        ("zipf:0.99", "zip:1", "names.rider.distribution"),
        ("from = 5.0", "from = 6.0", "fare"),
        ("rows = 2", "rows = 0", "0 rows"),
        ("rows = 2", "rows = 51\nrepeats = false", "51 different ones of 100 zone"),
        ("duplicate_share = 0.5", "duplicate_share = 1.0", "duplicate_share"),
        ("features = [\"count:10m\"]", "id = true", "a read has no"),
        ("title = \"rides\"", "titel = \"rides\"", "titel"),
        ("connections = 3", "connections = 0", "each needs one"),
    ] {
        assert!(FILE.contains(old), "{old}");
        let outcome = WorkloadFile::parse(&FILE.replace(old, new));
        let error = outcome.expect_err(new).to_string();
        assert!(error.contains(expected), "{new}: {error}");
    }
}
