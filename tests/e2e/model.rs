//! Sends the same events to the server and to the model, and compares what they answer.

use std::time::{SystemTime, UNIX_EPOCH};

use windrow_tests::oracle::{Aggregate, At, Clock, Event, Model, Skew, Stream, Window};
use windrow_tests::resp::{Conn, Reply};

/// A stream on the server and its model: fields `v` and `w`, both INT, all aggregates.
pub struct Pair {
    pub name: String,
    pub model: Model,
    windows: Vec<Window>,
    lifetime: bool,
}

/// How a stream differs from the plain one.
#[derive(Clone, Default)]
pub struct Options {
    pub lifetime: bool,
    pub wall: bool,
    pub lateness_ms: Option<i64>,
    pub retain_ms: Option<i64>,
    pub skew: Option<Skew>,
}

/// Named as in a command, for every aggregate the model knows.
pub const AGGREGATES: &[(&str, Aggregate)] = &[
    ("count", Aggregate::Count),
    ("count(w)", Aggregate::CountOf(1)),
    ("sum(v)", Aggregate::Sum(0)),
    ("sum(w)", Aggregate::Sum(1)),
    ("avg(v)", Aggregate::Avg(0)),
    ("min(v)", Aggregate::Min(0)),
    ("max(v)", Aggregate::Max(0)),
    ("rate", Aggregate::Rate),
    ("rate(v)", Aggregate::RateOf(0)),
    ("since", Aggregate::Since),
];

/// The server's idea of now is not the test's: reads of a wall clock are compared only where that cannot matter.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(now.as_millis()).expect("the clock is within i64")
}

impl Pair {
    /// Creates the stream; windows are (length, width) in ms.
    pub fn create(conn: &mut Conn, name: &str, windows: &[(i64, i64)], options: &Options) -> Pair {
        let mut command = format!("STREAM.CREATE {name} FIELDS v INT w INT WINDOWS");
        for (length_ms, width_ms) in windows {
            command += &format!(" {length_ms}ms@{width_ms}ms");
        }
        if options.lifetime {
            command += " all";
        }
        command += " AGGREGATE";
        for (name, aggregate) in AGGREGATES {
            command += &format!(" {name}");
            if options.lifetime && matches!(aggregate, Aggregate::Rate | Aggregate::RateOf(_)) {
                command.extend(windows.iter().map(|(length_ms, _)| format!(":{length_ms}ms")));
            }
        }
        let clock = if options.wall { Clock::Wall } else { Clock::Event };
        command += if options.wall { " CLOCK WALL" } else { " CLOCK EVENT" };
        if let Some(lateness_ms) = options.lateness_ms {
            command += &format!(" LATENESS {lateness_ms}ms");
        }
        match options.skew {
            Some(Skew::Clamp(skew_ms)) => command += &format!(" SKEW {skew_ms}ms CLAMP"),
            Some(Skew::Reject(skew_ms)) => command += &format!(" SKEW {skew_ms}ms REJECT"),
            None => {}
        }
        if let Some(retain_ms) = options.retain_ms {
            command += &format!(" RETAIN {retain_ms}ms");
        }
        conn.ok(&command);
        let windows: Vec<Window> = windows
            .iter()
            .map(|(length_ms, width_ms)| Window { length_ms: *length_ms, width_ms: *width_ms })
            .collect();
        let default_skew = if options.wall { Skew::Clamp(60_000) } else { Skew::Reject(60_000) };
        let model = Model::new(Stream {
            windows: windows.clone(),
            lifetime: options.lifetime,
            clock,
            lateness_ms: options.lateness_ms,
            retain_ms: options.retain_ms,
            skew: options.skew.unwrap_or(default_skew),
        });
        Pair { name: name.to_owned(), model, windows, lifetime: options.lifetime }
    }

    /// Sends one event to both; their outcomes must agree.
    pub fn add(&mut self, conn: &mut Conn, entity: &str, time_ms: i64, values: [Option<i64>; 2]) {
        let reply = conn.cmd(&self.add_command(entity, time_ms, values));
        let expected = self.expect(entity, time_ms, values);
        assert_eq!(reply, Reply::Simple(expected.into()), "{entity} at {time_ms} of {}", self.name);
    }

    /// The command of an event, to be pipelined.
    pub fn add_command(&self, entity: &str, time_ms: i64, values: [Option<i64>; 2]) -> String {
        let mut command = format!("EVENT.ADD {entity} {} {time_ms}", self.name);
        for (field, value) in ["v", "w"].iter().zip(values) {
            if let Some(value) = value {
                command += &format!(" {field} {value}");
            }
        }
        command
    }

    /// Sends an event to the model alone; returns the reply that the server owes.
    pub fn expect(&mut self, entity: &str, time_ms: i64, values: [Option<i64>; 2]) -> &'static str {
        self.model.add(now_ms(), entity.as_bytes(), Event { time_ms, values: values.to_vec() }).text()
    }

    /// Reads every aggregate over a length, at a time, from both: the same values, or an error where the model has one.
    pub fn compare(&self, conn: &mut Conn, entity: &str, length_ms: Option<i64>, at: At) {
        let length = length_ms.map_or("all".to_owned(), |length_ms| format!("{length_ms}ms"));
        let asked: Vec<_> = AGGREGATES
            .iter()
            .filter(|(_, aggregate)| {
                length_ms.is_some() || !matches!(aggregate, Aggregate::Rate | Aggregate::RateOf(_))
            })
            .collect();
        let mut command = format!("WINDOW.GET {entity} {}", self.name);
        if let At::Time(time_ms) = at {
            command += &format!(" AT {time_ms}");
        }
        for (name, _) in &asked {
            command += &format!(" {name}:{length}");
        }
        let reply = conn.cmd(&command);
        let expect = |aggregate| self.model.read(now_ms(), entity.as_bytes(), aggregate, length_ms, at);
        if let Err(kept_ms) = expect(Aggregate::Count) {
            let error =
                reply.error().unwrap_or_else(|| panic!("{command}: kept from {kept_ms}, got {reply:?}"));
            assert!(error.contains(&kept_ms.to_string()), "{command}: no {kept_ms} in: {error}");
            assert!(error.contains("RETAIN"), "{command}: no RETAIN in: {error}");
            return;
        }
        assert_eq!(reply.error(), None, "{command}");
        let values = reply.into_elements();
        assert_eq!(values.len(), asked.len(), "{command}");
        for ((name, aggregate), value) in asked.into_iter().zip(values) {
            let expected = expect(*aggregate).expect("the window is kept");
            assert_same(expected, value.number(), &format!("{name}:{length} of {command}"));
        }
    }

    /// [`Pair::compare`] for every declared length, and `all` where it can be asked.
    pub fn compare_all(&self, conn: &mut Conn, entity: &str, at: At) {
        for window in &self.windows {
            self.compare(conn, entity, Some(window.length_ms), at);
        }
        if self.lifetime && at == At::Now {
            self.compare(conn, entity, None, at);
        }
    }
}

/// Equal, but for the last bits of a quotient.
pub fn assert_same(expected: Option<f64>, got: Option<f64>, what: &str) {
    let same = match (expected, got) {
        (Some(expected), Some(got)) => (expected - got).abs() <= 1e-12 * expected.abs().max(got.abs()),
        (expected, got) => expected == got,
    };
    assert!(same, "{what}: the model says {expected:?}, the server {got:?}");
}
