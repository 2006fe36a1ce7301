//! Streams as the specification describes them.

use std::collections::BTreeMap;
use std::rc::Rc;

/// What drives a stream's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The server's.
    Wall,
    /// The largest event time received.
    Event,
}

/// What becomes of events ahead of the server's clock by more than so many ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// Counted at the server's time.
    Clamp(i64),
    /// Not counted.
    Reject(i64),
}

impl Skew {
    /// So many.
    pub fn ms(self) -> i64 {
        let (Skew::Clamp(ms) | Skew::Reject(ms)) = self;
        ms
    }
}

/// An aggregate over the field `n`, or of `s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// Events.
    Count,
    /// Sum of `n`.
    Sum,
    /// Least `n`.
    Min,
    /// Largest `n`.
    Max,
    /// Newest `n`.
    Last,
    /// The three newest `n`.
    LastThree,
    /// How many different `s`.
    Distinct,
}

impl Aggregate {
    /// As commands name it.
    pub fn text(self) -> &'static str {
        match self {
            Aggregate::Count => "count",
            Aggregate::Sum => "sum(n)",
            Aggregate::Min => "min(n)",
            Aggregate::Max => "max(n)",
            Aggregate::Last => "last(n)",
            Aggregate::LastThree => "lastk(n,3)",
            Aggregate::Distinct => "distinct(s)",
        }
    }
}

/// A window: its length and the width of its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// As commands name it.
    pub text: &'static str,
    /// `None`: `all`.
    pub span: Option<(i64, i64)>,
}

/// What STREAM.CREATE says.
#[derive(Debug)]
pub struct Kind {
    /// Windows.
    pub windows: &'static [Window],
    /// Aggregates at first.
    pub aggregates: &'static [Aggregate],
    /// CLOCK.
    pub clock: Clock,
    /// LATENESS.
    pub lateness_ms: Option<i64>,
    /// SKEW.
    pub skew: Skew,
    /// DEDUP.
    pub dedup_ms: Option<i64>,
    /// What follows the aggregates in the command, saying the same.
    pub options: &'static str,
    /// Whether STREAM.ALTER may change it.
    pub may_be_altered: bool,
}

const ALL: Window = Window { text: "all", span: None };

/// The kinds of stream that histories use: with `all` or not, either clock, with DEDUP or not, sketches or not, short lives and long.
pub static KINDS: [Kind; 4] = [
    Kind {
        windows: &[
            Window { text: "10s@1s", span: Some((10_000, 1_000)) },
            Window { text: "1m@5s", span: Some((60_000, 5_000)) },
            ALL,
        ],
        aggregates: &[
            Aggregate::Count,
            Aggregate::Sum,
            Aggregate::Min,
            Aggregate::Last,
            Aggregate::LastThree,
            Aggregate::Distinct,
        ],
        clock: Clock::Wall,
        lateness_ms: None,
        skew: Skew::Clamp(60_000),
        dedup_ms: Some(20_000),
        options: "DEDUP 20s",
        may_be_altered: true,
    },
    Kind {
        windows: &[
            Window { text: "5s@500ms", span: Some((5_000, 500)) },
            Window { text: "20s@2s", span: Some((20_000, 2_000)) },
        ],
        aggregates: &[Aggregate::Count, Aggregate::Sum, Aggregate::Max],
        clock: Clock::Event,
        lateness_ms: Some(3_000),
        skew: Skew::Reject(10_000),
        dedup_ms: Some(10_000),
        options: "CLOCK EVENT LATENESS 3s SKEW 10s REJECT DEDUP 10s",
        may_be_altered: false,
    },
    Kind {
        windows: &[Window { text: "8s@1s", span: Some((8_000, 1_000)) }],
        aggregates: &[Aggregate::Count, Aggregate::Sum],
        clock: Clock::Wall,
        lateness_ms: None,
        skew: Skew::Clamp(2_000),
        dedup_ms: Some(5_000),
        options: "SKEW 2s CLAMP DEDUP 5s",
        may_be_altered: true,
    },
    Kind {
        windows: &[Window { text: "30s@3s", span: Some((30_000, 3_000)) }, ALL],
        aggregates: &[Aggregate::Count, Aggregate::Sum, Aggregate::Max, Aggregate::Last],
        clock: Clock::Wall,
        lateness_ms: Some(8_000),
        skew: Skew::Reject(1_000),
        dedup_ms: None,
        options: "LATENESS 8s SKEW 1s REJECT",
        may_be_altered: true,
    },
];

impl Kind {
    /// The words behind STREAM.CREATE and the name.
    pub fn words(&self) -> String {
        let windows: Vec<&str> = self.windows.iter().map(|window| window.text).collect();
        let aggregates: Vec<&str> = self.aggregates.iter().map(|aggregate| aggregate.text()).collect();
        format!(
            "FIELDS n INT s STRING WINDOWS {} AGGREGATE {} {}",
            windows.join(" "),
            aggregates.join(" "),
            self.options
        )
    }

    /// Whether there is a lifetime window.
    pub fn has_lifetime(&self) -> bool {
        self.windows.iter().any(|window| window.span.is_none())
    }

    /// Longest window and RETAIN of each width: RETAIN is LATENESS and a bucket where it is not given.
    pub fn tiers(&self) -> impl Iterator<Item = Tier> + '_ {
        self.windows.iter().filter_map(|window| {
            let (length_ms, width_ms) = window.span?;
            let skew_ms = self.skew.ms();
            Some(Tier { width_ms, kept_ms: length_ms + self.lateness_ms.unwrap_or(0) + width_ms, skew_ms })
        })
    }

    /// The tier of a width.
    pub fn tier(&self, width_ms: i64) -> Tier {
        self.tiers().find(|tier| tier.width_ms == width_ms).expect("a window has a tier")
    }

    /// After so long without an event an entity is dead; `None`: never.
    pub fn life_ms(&self) -> Option<i64> {
        let longest = self.tiers().map(|tier| tier.kept_ms + tier.width_ms).max();
        if self.has_lifetime() { None } else { longest }
    }
}

/// How far a bucket width reaches back.
#[derive(Debug, Clone, Copy)]
pub struct Tier {
    /// Bucket width.
    pub width_ms: i64,
    /// Longest window and RETAIN.
    pub kept_ms: i64,
    /// SKEW.
    pub skew_ms: i64,
}

impl Tier {
    /// Start of the oldest bucket that is kept.
    pub fn kept_from_ms(self, clock_ms: i64) -> i64 {
        floor(clock_ms + 1 - self.kept_ms, self.width_ms)
    }

    /// Whether an event has a bucket: one that is kept by the clock, and that the newest event of its entity has not moved on from, which
    /// one that was overtaken on its way may find.
    pub fn takes(self, ts: i64, clock_ms: i64, newest_ms: Option<i64>) -> bool {
        let buckets =
            (ceil(self.kept_ms, self.width_ms) + ceil(self.skew_ms, self.width_ms)) / self.width_ms + 1;
        let is_reached =
            |newest_ms| floor(ts, self.width_ms) > floor(newest_ms, self.width_ms) - buckets * self.width_ms;
        floor(ts, self.width_ms) >= self.kept_from_ms(clock_ms) && newest_ms.is_none_or(is_reached)
    }
}

/// Down to a multiple of the width.
pub fn floor(time_ms: i64, width_ms: i64) -> i64 {
    time_ms.div_euclid(width_ms) * width_ms
}

/// Up to a multiple of the width.
pub fn ceil(time_ms: i64, width_ms: i64) -> i64 {
    -floor(-time_ms, width_ms)
}

/// A stream at one version of the catalogue.
#[derive(Debug, Clone)]
pub struct StreamModel {
    /// Its id, as the catalogue gave it.
    pub id: u32,
    /// Its name.
    pub name: &'static str,
    /// What it was created with.
    pub kind: &'static Kind,
    /// How often it was altered.
    pub generation: usize,
    /// Its aggregates, and the generation that each began with.
    pub aggregates: Vec<(Aggregate, usize)>,
    /// An entity that was older than this when a generation settled stays dead: by generation.
    pub dead_before_ms: Vec<i64>,
    /// The stream that it was made from, until it is altered.
    pub source: Option<u32>,
    /// A backfill of it is not finished.
    pub filling: Option<Filling>,
}

/// A backfill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filling {
    /// Whose events; `None`: its own.
    pub source: Option<u32>,
    /// What was added at this generation is filled.
    pub generation: usize,
}

impl StreamModel {
    /// Whether those that are dead or removed are remembered, so that a backfill does not bring them back.
    pub fn keeps_the_dead(&self) -> bool {
        self.filling.as_ref().is_some_and(|filling| filling.source.is_some())
    }

    /// The features in the order in which reads ask for them; `all` exists at present only.
    pub fn features(&self, is_present: bool) -> impl Iterator<Item = (Aggregate, usize, Window)> + '_ {
        let of = move |&(aggregate, since): &(Aggregate, usize)| {
            let windows = self.kind.windows.iter().filter(move |window| is_present || window.span.is_some());
            windows.map(move |window| (aggregate, since, *window))
        };
        self.aggregates.iter().flat_map(of)
    }
}

/// The streams at one version of the catalogue, by id.
pub type Streams = Rc<BTreeMap<u32, StreamModel>>;
