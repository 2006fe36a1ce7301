//! What a read must answer.

use windrow_window::Value;

use super::page::{EntityPage, Event};
use super::stream::{Aggregate, StreamModel, Tier, Window};
use super::when::{Pairs, Range, Times, When};

/// Whether an entity is dead: its newest event is too old by the stream's clock, or was when a later generation came.
pub fn is_dead(stream: &StreamModel, page: &EntityPage, clock_ms: i64) -> bool {
    let Some(newest_ms) = page.events.iter().map(|event| event.ts).max() else { return true };
    let later = stream.dead_before_ms.iter().skip(page.written + 1);
    let later = later.take(stream.generation.saturating_sub(page.written));
    stream.kind.life_ms().is_some_and(|life_ms| newest_ms < clock_ms - life_ms)
        || later.copied().any(|dead_before_ms| newest_ms < dead_before_ms)
}

/// The values of all features in order, as `when` says. `None`: an entity without record; no clock: no event.
pub fn row(stream: &StreamModel, page: Option<&EntityPage>, when: When, times: Times) -> Vec<Value> {
    let alive = alive(stream, page, times.clock_ms);
    let value = |(aggregate, since, window): (Aggregate, usize, Window)| {
        let Some(page) = alive else { return fold(aggregate, &[]) };
        let events: Vec<&Event> = match window.span {
            None => page.events.iter().filter(|event| page.counts(event, since)).collect(),
            Some((length_ms, width_ms)) => {
                let span = when.window(stream.kind, times, length_ms, width_ms);
                span.map_or(Vec::new(), |span| events(page, since, stream.kind.tier(width_ms), span))
            }
        };
        fold(aggregate, &events)
    };
    stream.features(when.is_present()).map(value).collect()
}

/// The pairs of a range.
pub fn pairs(
    stream: &StreamModel,
    page: Option<&EntityPage>,
    range: &Range,
    pairs: Pairs,
    clock_ms: Option<i64>,
) -> Vec<(i64, Value)> {
    let alive = alive(stream, page, clock_ms);
    let since = stream.aggregates.iter().find(|(aggregate, _)| *aggregate == range.aggregate);
    let since = since.map_or(0, |(_, since)| *since);
    let pair = |index: i64| {
        let start_ms = pairs.first_ms + index * pairs.step_ms;
        let span = (start_ms, start_ms + pairs.step_ms);
        let events = alive.map_or(Vec::new(), |page| events(page, since, pairs.tier, span));
        (start_ms, fold(range.aggregate, &events))
    };
    (0..pairs.count).map(pair).collect()
}

fn alive<'a>(
    stream: &StreamModel,
    page: Option<&'a EntityPage>,
    clock_ms: Option<i64>,
) -> Option<&'a EntityPage> {
    page.zip(clock_ms).filter(|(page, clock_ms)| !is_dead(stream, page, *clock_ms)).map(|(page, _)| page)
}

/// What the buckets of a tier hold of a time: an event went to the buckets that there were when it came.
fn events(page: &EntityPage, since: usize, tier: Tier, (from_ms, to_ms): (i64, i64)) -> Vec<&Event> {
    let is_in = |event: &&Event| {
        page.counts(event, since)
            && (from_ms..to_ms).contains(&event.ts)
            && tier.takes(event.ts, event.clock_ms, event.newest_ms)
    };
    page.events.iter().filter(is_in).collect()
}

fn fold(aggregate: Aggregate, events: &[&Event]) -> Value {
    let some = |value: Option<i64>| value.map_or(Value::Null, Value::Int);
    let newest_first = || {
        // Of events of one time, the one that arrived later is newer.
        let mut sorted: Vec<&Event> = events.to_vec();
        sorted.sort_by_key(|event| event.ts);
        sorted.into_iter().rev().map(|event| event.n)
    };
    match aggregate {
        Aggregate::Count => Value::Int(events.len() as i64),
        Aggregate::Sum => Value::Int(events.iter().map(|event| event.n).sum()),
        Aggregate::Min => some(events.iter().map(|event| event.n).min()),
        Aggregate::Max => some(events.iter().map(|event| event.n).max()),
        Aggregate::Last => some(newest_first().next()),
        Aggregate::LastThree => Value::List(newest_first().take(3).map(Value::Int).collect()),
        Aggregate::Distinct => {
            let mut values: Vec<&str> = events.iter().map(|event| event.s).collect();
            values.sort_unstable();
            values.dedup();
            Value::Int(values.len() as i64)
        }
    }
}
