//! What a read must answer.

use windrow_window::Value;

use super::page::{EntityPage, Event};
use super::stream::{Aggregate, StreamModel, ceil, floor};

/// Whether an entity is dead: its newest event is too old by the stream's clock, or was when a later generation came.
pub fn is_dead(stream: &StreamModel, page: &EntityPage, clock_ms: i64) -> bool {
    let Some(newest_ms) = page.events.iter().map(|event| event.ts).max() else { return true };
    let written = page.events.last().map_or(0, |event| event.generation);
    let later = stream.dead_before_ms.iter().skip(written + 1).take(stream.generation - written);
    stream.kind.life_ms().is_some_and(|life_ms| newest_ms < clock_ms - life_ms)
        || later.copied().any(|dead_before_ms| newest_ms < dead_before_ms)
}

/// The values of all features in order, read at T = clock + 1. `None`: an entity without record; no clock: no event.
pub fn row(stream: &StreamModel, page: Option<&EntityPage>, clock_ms: Option<i64>) -> Vec<Value> {
    let alive = page.zip(clock_ms).filter(|(page, clock_ms)| !is_dead(stream, page, *clock_ms));
    let value = |(aggregate, since, window): (Aggregate, usize, super::stream::Window)| {
        let Some((page, clock_ms)) = alive else { return fold(aggregate, &[]) };
        let is_in = |event: &&Event| {
            event.generation >= since
                && window.span.is_none_or(|(length_ms, width_ms)| {
                    let t = clock_ms + 1;
                    let tier = stream.kind.tiers().find(|tier| tier.width_ms == width_ms);
                    let tier = tier.expect("a window has a tier");
                    // It went to the buckets that there were when it came.
                    (floor(t - length_ms, width_ms)..ceil(t, width_ms)).contains(&event.ts)
                        && tier.takes(event.ts, event.clock_ms, event.newest_ms)
                })
        };
        let events: Vec<&Event> = page.events.iter().filter(is_in).collect();
        fold(aggregate, &events)
    };
    stream.features().map(value).collect()
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
