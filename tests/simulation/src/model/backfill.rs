//! What a backfill must find, and what must become of it: told which parts of which logs could be read, from the same decisions that
//! everything else is folded from.

use std::collections::BTreeMap;
use std::ops::Range;

use windrow_engine::Outcome;
use windrow_engine::backfill::Boundary;
use windrow_engine::slot::{hash_slot, shard_of};

use super::history::{History, LogId, Place};
use super::judge::skewed;
use super::page::{Decision, EntityPage, Event};
use super::stream::{Clock, StreamModel};
use crate::world::entity_name;

/// What reading the log met.
#[derive(Debug, Clone, Copy)]
pub enum Met {
    /// A group.
    Group {
        /// Of this log.
        log: LogId,
        /// Its first operation.
        first: u64,
        /// How many.
        count: u64,
        /// The server's clock when it was written.
        now_ms: i64,
    },
    /// Operations of a shard of so many are missing.
    Gap {
        /// The shard.
        shard: u16,
        /// How many there were.
        shards: u16,
    },
}

/// The entities that a pass over these slots finds, each with its earlier events.
pub fn found(
    history: &History,
    met: &[Met],
    target: &StreamModel,
    until: &Boundary,
    slots: &Range<u16>,
) -> BTreeMap<usize, Vec<Event>> {
    let Some(filling) = &target.filling else { return BTreeMap::new() };
    let decisions = history.by_place();
    let mut found: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
    for met in met {
        let (log, first, count, now_ms) = match *met {
            Met::Group { log, first, count, now_ms } => (log, first, count, now_ms),
            Met::Gap { shard, shards } => {
                found.retain(|entity, _| {
                    shard_of(hash_slot(&entity_name(*entity)), usize::from(shards)) != usize::from(shard)
                });
                continue;
            }
        };
        for ops in first..first + count {
            let Some((stream, decision)) = decisions.get(&Place { log, ops }) else { continue };
            match filling.source {
                None if *stream == target.id => feed_own(&mut found, decision, filling.generation),
                Some(source) if *stream == source && until.is_behind(log.0, log.1, ops) => {
                    feed_source(&mut found, decision, target, now_ms);
                }
                _ => {}
            }
        }
    }
    found.retain(|entity, _| slots.contains(&hash_slot(&entity_name(*entity))));
    found
}

/// An operation of the stream that is filled with its own events from before an ALTER.
fn feed_own(found: &mut BTreeMap<usize, Vec<Event>>, decision: &Decision, generation: usize) {
    match decision {
        Decision::Count { entity, event, anew, .. } if event.generation < generation => {
            let events = found.entry(*entity).or_default();
            if *anew {
                events.clear();
            }
            events.push(event.clone());
        }
        Decision::Remove { entity, generation: removed }
        | Decision::Evict { entity, generation: removed }
            if *removed < generation =>
        {
            found.remove(entity);
        }
        _ => {}
    }
}

/// An operation of the stream that another one is filled from. What went to make room was seen all the same.
fn feed_source(
    found: &mut BTreeMap<usize, Vec<Event>>,
    decision: &Decision,
    target: &StreamModel,
    now_ms: i64,
) {
    match decision {
        Decision::Count { entity, event, stamp_ms, source_clock, .. } => {
            // What its source took from further ahead than the target would have, the target treats as it would.
            let received_ms = if *source_clock == Clock::Wall { *stamp_ms } else { now_ms };
            let (ts, outcome) = skewed(target, event.ts, received_ms);
            if outcome == Outcome::Skewed {
                return;
            }
            let events = found.entry(*entity).or_default();
            let clock_ms = match (target.kind.clock, source_clock) {
                (Clock::Wall, _) => now_ms,
                (Clock::Event, Clock::Event) => *stamp_ms,
                (Clock::Event, Clock::Wall) => ts,
            };
            let newest_ms = events.iter().map(|event| event.ts).max();
            if newest_ms.zip(target.kind.life_ms()).is_some_and(|(newest, life)| newest < clock_ms - life) {
                events.clear();
            }
            // It goes to the bucket of its own time.
            events.push(Event { ts, clock_ms: ts, newest_ms: None, generation: 0, ..event.clone() });
        }
        Decision::Remove { entity, .. } => {
            found.remove(entity);
        }
        _ => {}
    }
}

/// Whether a record takes what was found of its entity.
pub fn is_taken(
    target: &StreamModel,
    page: Option<&EntityPage>,
    found: &[Event],
    clock_ms: Option<i64>,
) -> bool {
    let Some(filling) = &target.filling else { return false };
    let newest_ms = |events: &[Event]| events.iter().map(|event| event.ts).max();
    if filling.source.is_none() {
        // It goes into a record that has been there since before, and is alive.
        return page.is_some_and(|page| {
            let newest_ms = newest_ms(&page.events).unwrap_or(i64::MIN);
            page.began < filling.generation
                && page.filled.iter().all(|(generation, _)| *generation < filling.generation)
                && !super::fold::is_dead(target, page, clock_ms.unwrap_or(newest_ms))
        });
    }
    let page = page.filter(|page| page.has_record);
    let newest_ms = newest_ms(found).max(page.and_then(|page| newest_ms(&page.events)));
    let is_dead = newest_ms
        .zip(target.kind.life_ms())
        .is_some_and(|(newest, life)| newest < clock_ms.unwrap_or(newest) - life);
    page.is_none_or(|page| !page.is_whole) && !is_dead
}
