//! 78,453 real events through `windrow demo`, against brute force over the file.

use std::process::Command;

use rstest::rstest;
use windrow_tests::commits::{Row, file, rows};
use windrow_tests::oracle::{Aggregate, At, Clock, Model, Skew, Stream, Window, default_width_ms};
use windrow_tests::resp::{Conn, Reply};
use windrow_tests::server::{Home, Launch, Server, binary, free_port};

use crate::model::{assert_same, now_ms};

const DAY_MS: i64 = 86_400_000;
const RETAIN_MS: i64 = 7 * DAY_MS;
/// The windows of the demo, longest last.
const LENGTHS_MS: [i64; 3] = [DAY_MS, 7 * DAY_MS, 30 * DAY_MS];
const FEATURES: [(&str, Aggregate); 4] = [
    ("count", Aggregate::Count),
    ("sum(files)", Aggregate::Sum(0)),
    ("sum(added)", Aggregate::Sum(1)),
    ("sum(deleted)", Aggregate::Sum(2)),
];
/// Entities of one MGET.
const ROWS_PER_READ: usize = 1000;

#[rstest]
fn real_commits_read_as_brute_force_says_before_and_after_kill_9(#[values(1, 4)] shards: usize) {
    let Some(path) = file() else { return };
    let model = model_of(&rows(&path));
    let home = Home::new();
    let port = free_port();
    let mut demo = Command::new(binary());
    demo.args(["demo", "--retain", "7d", "--shards", &shards.to_string(), "--port", &port.to_string()]);
    demo.arg("--csv").arg(&path).arg("--dir").arg(home.data());
    let child = home.spawn(demo);
    let server = Server::adopt(child, port, home);
    wait_until_loaded(&server);
    assert_equals(&mut server.connect(), &model, "before the crash");
    let server = Launch::shards(shards).start_in(server.kill());
    assert_equals(&mut server.connect(), &model, "after kill -9");
    let server = Launch::shards(5 - shards).start_in(server.kill());
    assert_equals(&mut server.connect(), &model, "after another kill -9, with other shards");
}

fn model_of(rows: &[Row]) -> Model {
    let window =
        |length_ms| Window { length_ms, width_ms: default_width_ms(length_ms).expect("a default width") };
    let mut model = Model::new(Stream {
        windows: LENGTHS_MS.map(window).to_vec(),
        lifetime: true,
        clock: Clock::Event,
        lateness_ms: None,
        retain_ms: Some(RETAIN_MS),
        skew: Skew::Reject(60_000),
    });
    let now_ms = now_ms();
    for row in rows {
        for entity in &row.entities {
            model.add(now_ms, entity, row.event.clone());
        }
    }
    model
}

/// The demo says so when the last event is in.
fn wait_until_loaded(server: &Server) {
    let started = std::time::Instant::now();
    while !server.home().log_tail().contains("Ctrl-C") {
        assert!(started.elapsed().as_secs() < 240, "the demo did not finish:\n{}", server.home().log_tail());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Every entity, every window, at the present and at several times within retention.
fn assert_equals(conn: &mut Conn, model: &Model, when: &str) {
    let mut entities: Vec<&[u8]> = model.entities().collect();
    entities.sort_unstable();
    assert!(entities.len() > 4000, "{when}: the file has thousands of entities");
    let clock_ms = model.clock_ms(now_ms()).expect("there are events");
    let mut times = vec![At::Now];
    // The last one is the oldest that every window still answers: it begins at the first bucket kept.
    times.extend(
        [1, DAY_MS / 3, 2 * DAY_MS + 12_345, RETAIN_MS].map(|back_ms| At::Time(clock_ms + 1 - back_ms)),
    );
    for at in times {
        let mut columns: Vec<(String, Aggregate, Option<i64>)> = Vec::new();
        for length_ms in LENGTHS_MS.map(Some).into_iter().chain((at == At::Now).then_some(None)) {
            let length = length_ms.map_or("all".to_owned(), |length_ms| format!("{}d", length_ms / DAY_MS));
            columns
                .extend(FEATURES.map(|(name, aggregate)| (format!("{name}:{length}"), aggregate, length_ms)));
        }
        for chunk in entities.chunks(ROWS_PER_READ) {
            let count = chunk.len().to_string();
            let mut args: Vec<&[u8]> = vec![b"WINDOW.MGET", count.as_bytes()];
            args.extend(chunk);
            args.push(b"commits");
            let time = if let At::Time(time_ms) = at { time_ms.to_string() } else { String::new() };
            if !time.is_empty() {
                args.extend([&b"AT"[..], time.as_bytes()]);
            }
            args.extend(columns.iter().map(|(feature, ..)| feature.as_bytes()));
            let reply = conn.args(&args);
            assert_eq!(reply.error(), None, "{when}, {at:?}");
            for (entity, row) in chunk.iter().zip(reply.into_elements()) {
                for ((feature, aggregate, length_ms), value) in columns.iter().zip(row.into_elements()) {
                    let expected =
                        model.read(now_ms(), entity, *aggregate, *length_ms, at).expect("within retention");
                    let what = format!("{when}, {at:?}: {feature} of {}", String::from_utf8_lossy(entity));
                    assert_same(expected, value.number(), &what);
                    assert!(
                        matches!(value, Reply::Int(_)),
                        "{what}: counts and INT sums are integers, not {value:?}"
                    );
                }
            }
        }
    }
}
