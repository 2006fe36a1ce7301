//! The naive model: a list of events, filters and folds. Written from the specification, not from the engine.

use windrow_window::aggregate::Aggregate;
use windrow_window::column::Partial;
use windrow_window::definition::{FieldType, SkewAction};
use windrow_window::{ClockMode, Definition, Length, Value};

pub struct Model {
    definition: Definition,
    /// The stream's clock under CLOCK EVENT.
    event_clock: Option<i64>,
    /// Every event counted, in order of arrival.
    events: Vec<Counted>,
    /// How many events were counted ever.
    counted: usize,
    /// What each width (0: `all`) stores, and how many events had been counted when it began.
    stored: Vec<(i64, Partial, usize)>,
    /// Of each width, the oldest time that was kept when an ALTER made its ring longer.
    kept_since: Vec<(i64, i64)>,
}

struct Counted {
    number: usize,
    entity: u8,
    ts: i64,
    values: Vec<Option<f64>>,
    ints: Vec<Option<i64>>,
}

/// A value as the test draws it; INT fields take the integer, FLOAT fields the number.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    pub int: i64,
    pub float: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Ok,
    Clamped,
    Skewed,
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
        let (counted, kept_since) = (0, Vec::new());
        let stored = Self::store(&definition, &[], counted);
        Self { definition, event_clock: None, events: Vec::new(), counted, stored, kept_since }
    }

    /// What the definition's widths store: what they stored together before goes on together, the rest begins now.
    fn store(
        definition: &Definition,
        before: &[(i64, Partial, usize)],
        counted: usize,
    ) -> Vec<(i64, Partial, usize)> {
        let mut stored = Vec::new();
        for spec in &definition.aggregates {
            for window in definition.windows.iter().filter(|window| spec.covers(window.length)) {
                let partials = Partial::of(spec.aggregate, &definition.fields);
                let since = since(before, window.width_ms, &partials).unwrap_or(counted);
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
        let before = self.tiers();
        let kept: Vec<i64> =
            before.iter().map(|tier| self.kept_from(tier.0, now).unwrap_or(i64::MIN)).collect();
        self.stored = Self::store(&definition, &self.stored, self.counted);
        self.definition = definition;
        let after = self.tiers();
        self.kept_since.retain(|(w, _)| after.iter().any(|tier| tier.0 == *w));
        for ((w, longest, retain), kept) in before.into_iter().zip(kept) {
            if after.iter().any(|tier| tier.0 == w && tier.1 + tier.2 > longest + retain) {
                self.kept_since.push((w, kept));
            }
        }
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

    pub fn add(&mut self, entity: u8, ts: i64, drawn: &[Option<Drawn>], now: i64) -> Reply {
        let ahead = ts > now + self.definition.skew_ms;
        let (ts, reply) = match (ahead, self.definition.skew_action) {
            (false, _) => (ts, Reply::Ok),
            (true, SkewAction::Clamp) => (now, Reply::Clamped),
            (true, SkewAction::Reject) => return Reply::Skewed,
        };
        self.event_clock = self.event_clock.max(Some(ts));
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
        self.events.push(Counted { number: self.counted, entity, ts, values, ints });
        self.counted += 1;
        reply
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
        let since = self.kept_since.iter().filter(|kept| kept.0 == w).map(|kept| kept.1).max();
        self.clock(now).map(|clock| floor(clock + 1 - longest - retain, w).max(since.unwrap_or(i64::MIN)))
    }

    /// The value of a feature over buckets of `w` (0: `all`) with the windows ending at `t`.
    pub fn read(&self, entity: u8, aggregate: Aggregate, length: Length, w: i64, t: i64, now: i64) -> Value {
        match length {
            Length::All => self.fold(entity, aggregate, i64::MIN, i64::MAX, 0, t, 0, now),
            Length::Finite(length) => {
                self.fold(entity, aggregate, floor(t - length, w), ceil(t, w), w, t, length, now)
            }
        }
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
    ) -> Value {
        let dead = self.clock(now).is_none_or(|clock| self.is_dead(entity, clock));
        let partials = Partial::of(aggregate, &self.definition.fields);
        // The newest event of all stands in every record.
        let is_newest_of_all = w == 0 && aggregate == Aggregate::Since;
        let since = if is_newest_of_all { 0 } else { since(&self.stored, w, &partials).expect("it is kept") };
        let within = |event: &&Counted| {
            !dead && event.entity == entity && event.number >= since && event.ts >= from && event.ts < to
        };
        let events: Vec<&Counted> = self.events.iter().filter(within).collect();
        let is_int = |field: u8| self.definition.fields[usize::from(field)].kind == FieldType::Int;
        let floats = |field: u8| events.iter().filter_map(move |event| event.values[usize::from(field)]);
        let ints = |field: u8| events.iter().filter_map(move |event| event.ints[usize::from(field)]);
        let present = |field: u8| floats(field).count() + ints(field).count();
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
        match aggregate {
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
        }
    }
}
