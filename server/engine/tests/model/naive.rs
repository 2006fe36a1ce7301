//! The naive model: a list of events, filters and folds. Written from the specification, not from the engine.

use windrow_window::aggregate::{Aggregate, Spread};
use windrow_window::column::Partial;
use windrow_window::definition::{FieldType, SkewAction};
use windrow_window::{ClockMode, Definition, Length, Value};

/// What a value must be.
#[derive(Debug)]
pub enum Expected {
    /// This.
    Exactly(Value),
    /// A float this far from a number at most.
    Near(f64, f64),
    /// So many, or one off: two values may share an entry of a sketch.
    About(i64),
    /// A float or an integer within 1 % of one of these two.
    Quantile(f64, f64),
    /// The so many most frequent, in any order where they are equally frequent, and how many others there are, if that is told.
    MostFrequent { counts: Vec<(Value, i64)>, k: usize, others: Option<i64> },
}

impl Expected {
    pub fn admits(&self, got: &Value) -> bool {
        let near = |got: f64, to: f64, by: f64| (got - to).abs() <= by;
        match (self, got) {
            (Self::Exactly(value), got) => value == got,
            (Self::Near(to, by), Value::Float(got)) => near(*got, *to, *by),
            (Self::About(count), Value::Int(got)) => (count - 1..=*count).contains(got),
            (Self::Quantile(low, high), got) => {
                let got = match *got {
                    Value::Float(got) => got,
                    Value::Int(got) => got as f64,
                    _ => return false,
                };
                [*low, *high].into_iter().any(|value| near(got, value, value.abs() * 0.010_000_1))
            }
            (Self::MostFrequent { counts, k, others }, Value::List(got)) => {
                admits_most_frequent(counts, *k, *others, got)
            }
            _ => false,
        }
    }
}

fn admits_most_frequent(counts: &[(Value, i64)], k: usize, others: Option<i64>, got: &[Value]) -> bool {
    let pair = |pair: &Value| match pair {
        Value::List(pair) => match &pair[..] {
            [value, Value::Int(count)] => Some((value.clone(), *count)),
            _ => None,
        },
        _ => None,
    };
    let Some(mut got) = got.iter().map(pair).collect::<Option<Vec<_>>>() else { return false };
    let mut largest: Vec<i64> = counts.iter().map(|(_, count)| *count).collect();
    largest.sort_by_key(|count| -count);
    let mut unseen: i64 = others.unwrap_or(0) + largest.iter().skip(k).sum::<i64>();
    largest.truncate(k);
    if others.is_some()
        && let Some((_, told)) = got.pop_if(|(value, _)| *value == Value::Null)
    {
        unseen -= told;
    }
    (others.is_none() || unseen == 0)
        && got.iter().map(|(_, count)| *count).eq(largest)
        && got.iter().all(|pair| counts.contains(pair))
        && got.iter().enumerate().all(|(at, pair)| !got[..at].contains(pair))
}

pub struct Model {
    definition: Definition,
    /// The stream's clock under CLOCK EVENT.
    event_clock: Option<i64>,
    /// The largest event time that was counted, whatever became of its entity.
    newest: Option<i64>,
    /// Every event counted, in order of arrival.
    events: Vec<Counted>,
    /// Ids of entities, and the clock when each was counted last.
    ids: Vec<((u8, u8), i64)>,
    /// How many events were counted ever.
    counted: usize,
    /// What each width (0: `all`) stores, and with which layout of the stream it began.
    stored: Vec<(i64, Partial, usize)>,
    /// How many events had been counted when each layout came.
    generations: Vec<usize>,
}

/// The options of a read that say when it looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct When {
    pub at: Option<At>,
    pub offset: Option<i64>,
    pub hop: Option<i64>,
    pub is_final: bool,
    pub excludes: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum At {
    Time(i64),
    Event,
}

/// What a feature is read over.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from: i64,
    pub to: i64,
    pub t: i64,
    /// It begins before what is kept.
    pub is_gone: bool,
}

struct Counted {
    number: usize,
    /// Widths that did not keep its bucket any more at an ALTER.
    lost: Vec<i64>,
    entity: u8,
    ts: i64,
    values: Vec<Option<f64>>,
    ints: Vec<Option<i64>>,
    texts: Vec<Option<&'static str>>,
}

impl Counted {
    fn value(&self, field: u8) -> Option<Value> {
        let field = usize::from(field);
        let text = self.texts[field].map(|text| Value::Bytes(text.as_bytes().into()));
        self.values[field].map(Value::Float).or(self.ints[field].map(Value::Int)).or(text)
    }

    fn number(&self, field: u8) -> Option<f64> {
        let field = usize::from(field);
        self.values[field].or(self.ints[field].map(|int| int as f64))
    }
}

/// A value as the test draws it; INT fields take the integer, FLOAT fields the number, STRING fields the text.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    pub int: i64,
    pub float: f64,
    pub text: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Ok,
    Clamped,
    Skewed,
    Duplicate,
    Late,
}

fn floor(ts: i64, w: i64) -> i64 {
    ts.div_euclid(w) * w
}

fn ceil(ts: i64, w: i64) -> i64 {
    -floor(-ts, w)
}

/// Since when all the partials are stored together.
fn since(stored: &[(i64, Partial, usize)], w: i64, partials: &[Partial]) -> Option<usize> {
    let starts = stored.iter().filter(|entry| entry.0 == w).map(|entry| entry.2);
    starts.filter(|&start| partials.iter().all(|&partial| stored.contains(&(w, partial, start)))).min()
}

impl Model {
    pub fn new(definition: Definition) -> Self {
        let stored = Self::store(&definition, &[], 0);
        Self {
            definition,
            event_clock: None,
            newest: None,
            events: Vec::new(),
            ids: Vec::new(),
            counted: 0,
            stored,
            generations: vec![0],
        }
    }

    /// What the definition's widths store: what they stored together before goes on together, the rest begins now.
    fn store(
        definition: &Definition,
        before: &[(i64, Partial, usize)],
        generation: usize,
    ) -> Vec<(i64, Partial, usize)> {
        let mut stored = Vec::new();
        for spec in &definition.aggregates {
            for window in definition.windows.iter().filter(|window| spec.covers(window.length)) {
                let partials = Partial::of(spec.aggregate, &definition.fields);
                let since = since(before, window.width_ms, &partials).unwrap_or(generation);
                stored.extend(partials.into_iter().map(|partial| (window.width_ms, partial, since)));
            }
        }
        stored
    }

    pub fn alter(&mut self, definition: Definition, now: i64) {
        let clock = self.clock(now);
        if let Some(clock) = clock {
            let entities: Vec<u8> = self.events.iter().map(|event| event.entity).collect();
            for entity in entities {
                if self.is_dead(entity, clock) {
                    self.events.retain(|event| event.entity != entity);
                }
            }
        }
        for (w, ..) in self.tiers() {
            let Some(kept) = self.kept_from(w, now) else { continue };
            for event in self.events.iter_mut().filter(|event| floor(event.ts, w) < kept) {
                event.lost.push(w);
            }
        }
        self.stored = Self::store(&definition, &self.stored, self.generations.len());
        self.generations.push(self.counted);
        self.definition = definition;
    }

    /// An event that is not too far ahead is received: the clock knows it, whatever becomes of it.
    pub fn receive(&mut self, ts: i64) {
        self.event_clock = self.event_clock.max(Some(ts));
    }

    /// True: the entity was there, and is gone.
    pub fn delete(&mut self, entity: u8, now: i64) -> bool {
        let is_there = self.clock(now).is_some_and(|clock| !self.is_dead(entity, clock));
        if is_there {
            self.events.retain(|event| event.entity != entity);
        }
        is_there
    }

    pub fn clock(&self, now: i64) -> Option<i64> {
        if self.definition.clock == ClockMode::Wall { Some(now) } else { self.event_clock }
    }

    /// Longest window and RETAIN of each bucket width.
    pub fn tiers(&self) -> Vec<(i64, i64, i64)> {
        let mut tiers: Vec<(i64, i64, i64)> = Vec::new();
        for window in &self.definition.windows {
            let Length::Finite(length) = window.length else { continue };
            let w = window.width_ms;
            let of_width = |width| self.definition.retain.iter().find(|retain| retain.width_ms == width);
            let retain = of_width(Some(w)).or_else(|| of_width(None)).map(|retain| retain.retain_ms);
            let retain = retain.unwrap_or(self.definition.lateness_ms.unwrap_or(0) + w);
            match tiers.iter_mut().find(|tier| tier.0 == w) {
                Some(tier) => tier.1 = tier.1.max(length),
                None => tiers.push((w, length, retain)),
            }
        }
        tiers
    }

    fn has_all(&self) -> bool {
        self.definition.windows.iter().any(|window| window.length == Length::All)
    }

    /// What becomes of an event. Between DEDUP and twice that an id may be found or not: `is_found` says which.
    pub fn add(
        &mut self,
        entity: u8,
        ts: i64,
        drawn: &[Option<Drawn>],
        (id, is_found): (Option<u8>, bool),
        now: i64,
    ) -> Reply {
        let ahead = ts > now + self.definition.skew_ms;
        let (ts, reply) = match (ahead, self.definition.skew_action) {
            (false, _) => (ts, Reply::Ok),
            (true, SkewAction::Clamp) => (now, Reply::Clamped),
            (true, SkewAction::Reject) => (ts, Reply::Skewed),
        };
        if reply != Reply::Skewed {
            self.event_clock = self.event_clock.max(Some(ts));
        }
        if id.is_some_and(|id| self.is_duplicate((entity, id), is_found, now)) {
            return Reply::Duplicate;
        }
        if reply == Reply::Skewed {
            return reply;
        }
        let clock = self.clock(now).expect("an event was received");
        if self.definition.lateness_ms.is_some_and(|lateness| ts < clock - lateness) {
            return Reply::Late;
        }
        let kept = self
            .tiers()
            .iter()
            .any(|&(w, longest, retain)| floor(ts, w) >= floor(clock + 1 - longest - retain, w));
        if !kept && !self.has_all() {
            return Reply::Late;
        }
        if self.is_dead(entity, clock) {
            self.events.retain(|event| event.entity != entity);
        }
        let of_kind = |kind: FieldType| {
            let fields = self.definition.fields.iter();
            fields.zip(drawn).map(move |(field, value)| value.filter(|_| field.kind == kind))
        };
        let values = of_kind(FieldType::Float).map(|value| value.map(|value| value.float)).collect();
        let ints = of_kind(FieldType::Int).map(|value| value.map(|value| value.int)).collect();
        let texts = of_kind(FieldType::String).map(|value| value.map(|value| value.text)).collect();
        self.newest = self.newest.max(Some(ts));
        self.events.push(Counted { number: self.counted, lost: Vec::new(), entity, ts, values, ints, texts });
        self.counted += 1;
        if let Some(id) = id {
            self.ids.push(((entity, id), clock));
        }
        reply
    }

    fn is_duplicate(&self, id: (u8, u8), is_found: bool, now: i64) -> bool {
        let counted = self.ids.iter().filter(|(other, _)| *other == id).map(|(_, at)| *at).max();
        let dedup = self.definition.dedup_ms.expect("ids need DEDUP");
        match counted.map(|at| self.clock(now).expect("an event was counted") - at) {
            Some(age) if age <= dedup => true,
            Some(age) if age < 2 * dedup => is_found,
            Some(_) | None => false,
        }
    }

    fn is_dead(&self, entity: u8, clock: i64) -> bool {
        let newest = self.events.iter().filter(|event| event.entity == entity).map(|event| event.ts).max();
        let longest =
            self.tiers().iter().map(|&(w, longest, retain)| longest + retain + w).max().unwrap_or(0);
        let ttl = match self.definition.ttl_ms {
            Some(ttl) => ttl,
            None if self.has_all() => return newest.is_none(),
            None => longest,
        };
        newest.is_none_or(|newest| newest < clock - ttl)
    }

    /// The oldest time from which a window over buckets of `w` may begin.
    pub fn kept_from(&self, w: i64, now: i64) -> Option<i64> {
        let (_, longest, retain) = *self.tiers().iter().find(|tier| tier.0 == w).expect("a declared width");
        self.clock(now).map(|clock| floor(clock + 1 - longest - retain, w))
    }

    /// The newest event time of an entity that is alive.
    pub fn newest_of(&self, entity: u8, now: i64) -> Option<i64> {
        self.clock(now).filter(|&clock| !self.is_dead(entity, clock))?;
        self.events.iter().filter(|event| event.entity == entity).map(|event| event.ts).max()
    }

    /// Whether `all` exists: no option says another time than the present.
    pub fn has_lifetime(when: &When) -> bool {
        when.at.is_none() && when.offset.is_none() && when.hop.is_none() && !when.is_final
    }

    /// What a window of `length` over buckets of `w` covers; `None` while the stream has no clock to say it.
    pub fn span(&self, when: &When, length: i64, w: i64, now: i64) -> Option<Span> {
        let clock = self.clock(now);
        let t = match when.at {
            Some(At::Time(ts)) => ts,
            // min(newest event of the stream, clock) + 1; nothing counted: as at the present.
            Some(At::Event) => self.newest.unwrap_or(i64::MAX).min(clock?) + 1,
            None => clock? + 1,
        };
        let mut t = t - when.offset.unwrap_or(0);
        let mut is_past = matches!(when.at, Some(At::Time(_))) || when.offset.is_some();
        if when.is_final {
            let lateness = self.definition.lateness_ms.expect("FINAL needs LATENESS");
            t = t.min(clock.map_or(t, |clock| clock - lateness));
        }
        if let Some(hop) = when.hop {
            is_past |= floor(t, hop) < t;
            t = floor(t, hop);
        }
        if when.is_final {
            t = floor(t, w);
        }
        let (from, to) = match (when.excludes, is_past) {
            (false, _) => (floor(t - length, w), ceil(t, w)),
            (true, false) => (ceil(t - length, w), ceil(t, w)),
            (true, true) => (ceil(t - length, w), floor(t, w)),
        };
        Some(Span { from, to, t, is_gone: self.kept_from(w, now).is_some_and(|kept| from < kept) })
    }

    /// The value of an aggregate over the events in `from..to`, whose buckets are `w` wide (0: one bucket).
    #[expect(clippy::too_many_arguments, reason = "a window, told in full")]
    pub fn fold(
        &self,
        entity: u8,
        aggregate: Aggregate,
        from: i64,
        to: i64,
        w: i64,
        t: i64,
        length: i64,
        now: i64,
    ) -> Expected {
        let dead = self.clock(now).is_none_or(|clock| self.is_dead(entity, clock));
        let partials = Partial::of(aggregate, &self.definition.fields);
        // The newest event of all stands in every record.
        let is_newest_of_all = w == 0 && aggregate == Aggregate::Since;
        let generation =
            if is_newest_of_all { 0 } else { since(&self.stored, w, &partials).expect("it is kept") };
        let since = self.generations[generation];
        let within = |event: &&Counted| {
            let is_stored = event.number >= since && !event.lost.contains(&w);
            !dead && event.entity == entity && is_stored && event.ts >= from && event.ts < to
        };
        let events: Vec<&Counted> = self.events.iter().filter(within).collect();
        let is_int = |field: u8| self.definition.fields[usize::from(field)].kind == FieldType::Int;
        let floats = |field: u8| events.iter().filter_map(move |event| event.values[usize::from(field)]);
        let ints = |field: u8| events.iter().filter_map(move |event| event.ints[usize::from(field)]);
        let present = |field: u8| events.iter().filter(|event| event.value(field).is_some()).count();
        let int_sum = |field: u8| {
            // A bucket saturates as its events arrive; buckets merge exactly.
            let mut buckets: Vec<(i64, i64)> = Vec::new();
            for event in &events {
                let Some(value) = event.ints[usize::from(field)] else { continue };
                let bucket = if w == 0 { 0 } else { floor(event.ts, w) };
                match buckets.iter_mut().find(|(start, _)| *start == bucket) {
                    Some((_, sum)) => *sum = sum.saturating_add(value),
                    None => buckets.push((bucket, value)),
                }
            }
            buckets.iter().map(|(_, sum)| i128::from(*sum)).sum::<i128>()
        };
        let float_sum = |field: u8| floats(field).fold(0.0, |sum, value| sum + value);
        let seconds = length as f64 / 1000.0;
        let numbers = |field: u8| events.iter().filter_map(move |event| event.number(field));
        // By event time, then arrival.
        let in_time = |field: u8| {
            let mut values: Vec<(i64, Value)> =
                events.iter().filter_map(|event| Some((event.ts, event.value(field)?))).collect();
            values.sort_by_key(|(ts, _)| *ts);
            values.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
        };
        Expected::Exactly(match aggregate {
            Aggregate::Count => Value::Int(events.len() as i64),
            Aggregate::CountOf(field) => Value::Int(present(field) as i64),
            Aggregate::Sum(field) if is_int(field) => {
                Value::Int(int_sum(field).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
            }
            Aggregate::Sum(field) => Value::Float(float_sum(field)),
            Aggregate::Avg(field) if present(field) == 0 => Value::Null,
            Aggregate::Avg(field) if is_int(field) => {
                Value::Float(int_sum(field) as f64 / present(field) as f64)
            }
            Aggregate::Avg(field) => Value::Float(float_sum(field) / present(field) as f64),
            Aggregate::Min(field) if is_int(field) => ints(field).min().map_or(Value::Null, Value::Int),
            Aggregate::Max(field) if is_int(field) => ints(field).max().map_or(Value::Null, Value::Int),
            Aggregate::Min(field) => floats(field).reduce(f64::min).map_or(Value::Null, Value::Float),
            Aggregate::Max(field) => floats(field).reduce(f64::max).map_or(Value::Null, Value::Float),
            Aggregate::Rate => Value::Float(events.len() as f64 / seconds),
            Aggregate::RateOf(field) if is_int(field) => Value::Float(int_sum(field) as f64 / seconds),
            Aggregate::RateOf(field) => Value::Float(float_sum(field) / seconds),
            Aggregate::Since => {
                let newest = events.iter().map(|event| event.ts).max();
                newest.map_or(Value::Null, |newest| Value::Int((t - 1 - newest).max(0)))
            }
            Aggregate::Variance(field, spread) => {
                let numbers: Vec<f64> = numbers(field).collect();
                return variance(&numbers, spread);
            }
            Aggregate::DecaySum(field, halflife_ms) => {
                let decayed = events.iter().filter_map(|event| {
                    let age_ms = (t - 1 - event.ts) as f64;
                    Some(event.number(field)? * (-age_ms / halflife_ms as f64).exp2())
                });
                let (sum, size) =
                    decayed.fold((0.0, 0.0), |(sum, size), value| (sum + value, size + value.abs()));
                return Expected::Near(sum, size * 1e-9);
            }
            Aggregate::First(field) => in_time(field).into_iter().next().unwrap_or(Value::Null),
            Aggregate::Last(field) => in_time(field).into_iter().next_back().unwrap_or(Value::Null),
            Aggregate::LastK(field, k) => {
                Value::List(in_time(field).into_iter().rev().take(usize::from(k)).collect())
            }
            Aggregate::Distinct(field, _) => {
                let counts = frequencies(events.iter().filter_map(|event| event.value(field)));
                let count = counts.len() as i64;
                if self.definition.fields[usize::from(field)].kind != FieldType::String {
                    return Expected::About(count);
                }
                Value::Int(count)
            }
            Aggregate::Quantile(field, fraction) => {
                let mut numbers: Vec<f64> = numbers(field).collect();
                if numbers.is_empty() {
                    return Expected::Exactly(Value::Null);
                }
                numbers.sort_by(f64::total_cmp);
                let rank = fraction.get() * (numbers.len() - 1) as f64;
                return Expected::Quantile(numbers[rank.floor() as usize], numbers[rank.ceil() as usize]);
            }
            Aggregate::TopK(field, k) => {
                let counts = frequencies(events.iter().filter_map(|event| event.value(field)));
                return Expected::MostFrequent { counts, k: usize::from(k), others: None };
            }
            Aggregate::CountBy(field, k) => return counts_by(&events, field, usize::from(k), w),
        })
    }
}

/// How often each value stands there.
fn frequencies(values: impl Iterator<Item = Value>) -> Vec<(Value, i64)> {
    let mut counts: Vec<(Value, i64)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    counts
}

/// Each bucket counts the first `k` values that arrive, and the rest as one.
fn counts_by(events: &[&Counted], field: u8, k: usize, w: i64) -> Expected {
    let mut buckets: Vec<(i64, Vec<Value>)> = Vec::new();
    let (mut counted, mut others) = (Vec::new(), 0);
    for event in events {
        let Some(value) = event.value(field) else { continue };
        let start = if w == 0 { 0 } else { floor(event.ts, w) };
        let at = buckets.iter().position(|(bucket, _)| *bucket == start).unwrap_or_else(|| {
            buckets.push((start, Vec::new()));
            buckets.len() - 1
        });
        let known = &mut buckets[at].1;
        if !known.contains(&value) && known.len() < k {
            known.push(value.clone());
        }
        if known.contains(&value) { counted.push(value) } else { others += 1 }
    }
    Expected::MostFrequent { counts: frequencies(counted.into_iter()), k, others: Some(others) }
}

/// In two passes.
fn variance(numbers: &[f64], spread: Spread) -> Expected {
    let count = numbers.len() as f64;
    let divisor = match spread {
        Spread::VarPop | Spread::StddevPop => count,
        Spread::VarSamp | Spread::StddevSamp => count - 1.0,
    };
    if divisor < 1.0 {
        return Expected::Exactly(Value::Null);
    }
    let mean = numbers.iter().sum::<f64>() / count;
    let variance = numbers.iter().map(|number| (number - mean) * (number - mean)).sum::<f64>() / divisor;
    let largest = numbers.iter().fold(0.0, |largest: f64, number| largest.max(number.abs()));
    match spread {
        Spread::VarPop | Spread::VarSamp => {
            Expected::Near(variance, variance * 1e-9 + largest * largest * 1e-15)
        }
        // Where values hardly differ, the root makes much of a rounding.
        Spread::StddevPop | Spread::StddevSamp => {
            Expected::Near(variance.sqrt(), variance.sqrt() * 1e-9 + largest * 1e-7)
        }
    }
}
