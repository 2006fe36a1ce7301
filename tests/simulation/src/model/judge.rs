//! What must become of an event, by the specification: DUPLICATE, then SKEW, then LATE.

use std::collections::BTreeMap;

use windrow_engine::Outcome;

use super::fold::is_dead;
use super::page::{EntityPage, Page};
use super::stream::{Clock, Skew, StreamModel};

/// An event on its way to the shard that owns its entity.
#[derive(Debug, Clone)]
pub struct Arriving {
    /// Whose.
    pub entity: usize,
    /// Event time as it was sent.
    pub sent_ts: i64,
    /// The server's clock where it was received.
    pub received_ms: i64,
    /// The stream's clock where it was received, this event included.
    pub stamp_ms: i64,
    /// Its id.
    pub id: Option<u64>,
    /// Group of hash slots, source, sequence number.
    pub source: Option<(u8, u64, u64)>,
}

/// What must become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This.
    Is(Outcome),
    /// DUPLICATE, or else this: the id is older than DEDUP and not older than twice that.
    DuplicateOr(Outcome),
}

impl Verdict {
    /// Whether the outcome is allowed.
    pub fn admits(self, outcome: Outcome) -> bool {
        match self {
            Verdict::Is(expected) => outcome == expected,
            Verdict::DuplicateOr(expected) => outcome == expected || outcome == Outcome::Duplicate,
        }
    }

    /// Whether the event may come to where memory is asked for.
    pub fn may_need_memory(self) -> bool {
        let (Verdict::Is(expected) | Verdict::DuplicateOr(expected)) = self;
        matches!(expected, Outcome::Ok | Outcome::Clamped | Outcome::Late)
    }
}

/// Event time and outcome of an event by SKEW alone.
pub fn skewed(stream: &StreamModel, sent_ts: i64, now_ms: i64) -> (i64, Outcome) {
    match stream.kind.skew {
        Skew::Clamp(skew_ms) if sent_ts > now_ms + skew_ms => (now_ms, Outcome::Clamped),
        Skew::Reject(skew_ms) if sent_ts > now_ms + skew_ms => (sent_ts, Outcome::Skewed),
        _ => (sent_ts, Outcome::Ok),
    }
}

/// Sequence numbers that were refused and must come first; forgotten by a restart.
pub type Undecided = BTreeMap<(u32, u8, u64), u64>;

/// What becomes of an event when its owner gets to it, and whether it starts its entity anew.
pub fn judge(
    stream: &StreamModel,
    page: &Page,
    undecided: &Undecided,
    arriving: &Arriving,
    clock_ms: i64,
) -> (Verdict, bool) {
    // By the later of its stamp and the clock.
    let clock_ms = clock_ms.max(arriving.stamp_ms);
    let known = known(stream, page, arriving, clock_ms);
    let turn = turn(stream, page, undecided, arriving);
    let (rest, anew) = by_time(stream, page, arriving, clock_ms);
    let verdict = match (known, turn) {
        (_, Turn::Counted) | (Known::Yes, _) => Verdict::Is(Outcome::Duplicate),
        (Known::Maybe, Turn::After(undecided)) => Verdict::DuplicateOr(Outcome::SeqGap { undecided }),
        (Known::No, Turn::After(undecided)) => Verdict::Is(Outcome::SeqGap { undecided }),
        (Known::Maybe, Turn::Now) => Verdict::DuplicateOr(rest),
        (Known::No, Turn::Now) => Verdict::Is(rest),
    };
    (verdict, anew)
}

/// Whether an id was counted within DEDUP.
enum Known {
    Yes,
    Maybe,
    No,
}

fn known(stream: &StreamModel, page: &Page, arriving: &Arriving, clock_ms: i64) -> Known {
    let counted = arriving
        .id
        .and_then(|id| page.streams.get(&stream.id)?.ids.get(&(arriving.entity, id)))
        .zip(stream.kind.dedup_ms);
    match counted {
        None => Known::No,
        Some((counted, dedup_ms)) if clock_ms - counted.stamp_ms <= dedup_ms => Known::Yes,
        // What arrived late may be kept from then on.
        Some((counted, dedup_ms)) if clock_ms - counted.clock_ms <= 2 * dedup_ms => Known::Maybe,
        Some(_) => Known::No,
    }
}

/// Whose turn it is by sequence numbers.
enum Turn {
    Now,
    Counted,
    After(u64),
}

fn turn(stream: &StreamModel, page: &Page, undecided: &Undecided, arriving: &Arriving) -> Turn {
    let Some((group, source, seq)) = arriving.source else { return Turn::Now };
    let counted = page.streams.get(&stream.id).and_then(|page| page.sources.get(&(group, source)));
    if counted.is_some_and(|counted| seq <= counted.last) {
        return Turn::Counted;
    }
    match undecided.get(&(stream.id, group, source)) {
        Some(&first) if seq > first => Turn::After(first),
        _ => Turn::Now,
    }
}

/// Whether a refused sequence number is now one that higher ones wait for.
pub fn must_come_first(
    stream: &StreamModel,
    page: &Page,
    undecided: &Undecided,
    arriving: &Arriving,
) -> bool {
    arriving.source.is_some() && matches!(turn(stream, page, undecided, arriving), Turn::Now)
}

fn by_time(stream: &StreamModel, page: &Page, arriving: &Arriving, clock_ms: i64) -> (Outcome, bool) {
    let (ts, outcome) = skewed(stream, arriving.sent_ts, arriving.received_ms);
    let entity = page.entity(stream.id, arriving.entity);
    // What a backfill brings may show that it is alive.
    let may_be_alive = |entity: &&EntityPage| {
        stream.keeps_the_dead() && entity.has_record && !entity.is_whole && !stream.kind.has_lifetime()
    };
    let alive = entity.filter(|entity| !is_dead(stream, entity, clock_ms) || may_be_alive(entity));
    let anew = alive.is_none();
    if outcome == Outcome::Skewed {
        return (outcome, anew);
    }
    // By the stamp; an event that was overtaken also by the newest of its entity.
    let (judged_ms, newest_ms) = buckets_by(stream, page, arriving, anew);
    let is_too_late = stream.kind.lateness_ms.is_some_and(|lateness_ms| ts < judged_ms - lateness_ms);
    let is_kept =
        stream.kind.has_lifetime() || stream.kind.tiers().any(|tier| tier.takes(ts, judged_ms, newest_ms));
    if is_too_late || !is_kept { (Outcome::Late, anew) } else { (outcome, anew) }
}

/// What an event goes into buckets by: a clock, and the newest event of its entity.
pub fn buckets_by(stream: &StreamModel, page: &Page, arriving: &Arriving, anew: bool) -> (i64, Option<i64>) {
    let entity = page.entity(stream.id, arriving.entity).filter(|_| !anew);
    let newest_ms = entity.and_then(|entity| entity.events.iter().map(|event| event.ts).max());
    let clock_ms = match stream.kind.clock {
        Clock::Wall => arriving.stamp_ms,
        Clock::Event => arriving.stamp_ms.max(newest_ms.unwrap_or(i64::MIN)),
    };
    (clock_ms, newest_ms)
}
