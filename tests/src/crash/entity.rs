//! What one entity was sent, and what a restart may have made of it.
//!
//! Event k of an entity adds 2^k to two sums, so a state names the events in it. An entity's operations go through one connection, one
//! shard and one log in their order; so what comes back is what stood after some *prefix* of them, no shorter than what was promised.

use std::fmt;
use std::time::Instant;

use super::findings::Findings;
use crate::resp::Reply;

/// Bits of an i64 sum that cannot overflow, even when an event is counted twice.
pub const EVENTS_MAX: u32 = 60;

/// The features that show a state from several sides, in the order in which [`Row::read`] expects them.
pub const FEATURES: &str =
    "count:all sum(bits):all sum(twin):all count:1h sum(bits):1h sum(twin):1h last(bits):1h";

/// The stream of all loads.
pub const STREAM: &str = "STREAM.CREATE load FIELDS bits INT twin INT WINDOWS 1h@1m all \
    AGGREGATE count:all:1h sum(bits):all:1h sum(twin):all:1h last(bits):1h DEDUP 1h";

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The event with this bit.
    Event(u32),
    /// ENTITY.DEL.
    Delete,
}

/// What counts after some operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    count: i64,
    bits: i64,
    last: Option<i64>,
}

impl State {
    fn after(self, step: Step) -> State {
        match step {
            Step::Delete => State::default(),
            Step::Event(bit) => {
                let value = 1 << bit;
                State { count: self.count + 1, bits: self.bits + value, last: Some(value) }
            }
        }
    }
}

/// What the server answers for [`FEATURES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Count, sum of `bits`, sum of `twin`; over all time, and over the hour.
    views: [[i64; 3]; 2],
    last: Option<i64>,
}

impl Row {
    /// A row of WINDOW.GET or WINDOW.MGET; `None` if it has another shape.
    pub fn read(row: &Reply) -> Option<Row> {
        let Reply::Array(cells) = row else { return None };
        let [all @ .., last] = cells.as_slice() else { return None };
        let numbers: Vec<i64> = all
            .iter()
            .map_while(|cell| if let Reply::Int(number) = cell { Some(*number) } else { None })
            .collect();
        let [a, b, c, d, e, f] = numbers[..] else { return None };
        let last = match last {
            Reply::Int(number) => Some(*number),
            Reply::Null => None,
            _ => return None,
        };
        Some(Row { views: [[a, b, c], [d, e, f]], last })
    }

    /// The state, as the first view shows it.
    pub fn state(&self) -> State {
        State { count: self.views[0][0], bits: self.views[0][1], last: self.last }
    }

    /// Whether all sides show the same events.
    pub fn is_whole(&self) -> bool {
        self.views[0] == self.views[1] && self.views[0][1] == self.views[0][2]
    }
}

/// Which acknowledged operations must have come back.
#[derive(Debug, Clone, Copy)]
pub enum Promise {
    /// All: nothing but the process died, or each was synced before its reply.
    All,
    /// Those acknowledged before this moment.
    Before(Instant),
    /// None: only their order is promised.
    Nothing,
}

impl Promise {
    fn holds(self, acknowledged: Instant) -> bool {
        match self {
            Promise::All => true,
            Promise::Before(moment) => acknowledged < moment,
            Promise::Nothing => false,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    step: Step,
    acknowledged: Option<Instant>,
}

/// One entity of the ledger.
#[derive(Debug)]
pub struct Entity {
    name: String,
    /// What the last restart showed, and everything that was sent since.
    base: State,
    sent: Vec<Sent>,
    /// Events that a restart showed once, deleted since or not.
    known_bits: i64,
    events: u32,
}

impl Entity {
    /// One that nothing was sent to.
    pub fn new(name: String) -> Entity {
        Entity { name, base: State::default(), sent: Vec::new(), known_bits: 0, events: 0 }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bit of its next event; `None` when it has had them all.
    pub fn next_bit(&mut self) -> Option<u32> {
        let bit = self.events;
        self.events += 1;
        (bit < EVENTS_MAX).then_some(bit)
    }

    /// Notes an operation before it leaves. False for an event that is noted already, or came back from a restart: it is sent again.
    pub fn send(&mut self, step: Step) -> bool {
        let is_again = match step {
            Step::Event(bit) => {
                self.known_bits & (1 << bit) != 0 || self.sent.iter().any(|sent| sent.step == step)
            }
            Step::Delete => false,
        };
        if !is_again {
            self.sent.push(Sent { step, acknowledged: None });
        }
        !is_again
    }

    /// It was acknowledged.
    pub fn acknowledge(&mut self, step: Step, now: Instant) {
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.step == step && sent.acknowledged.is_none())
        {
            sent.acknowledged = Some(now);
        }
    }

    /// It was refused before it was applied: as if never sent.
    pub fn refuse(&mut self, step: Step) {
        if let Some(place) =
            self.sent.iter().rposition(|sent| sent.step == step && sent.acknowledged.is_none())
        {
            self.sent.remove(place);
        }
    }

    /// Whether nothing of it is undecided.
    pub fn is_decided(&self) -> bool {
        self.sent.iter().all(|sent| sent.acknowledged.is_some())
    }

    /// What a restart brought back, judged; from then on that is the truth. `shown` is what a reply has shown of it where that must stay.
    pub fn judge(&mut self, row: &Row, promise: Promise, shown: Option<State>, findings: &mut Findings) {
        let mut states = vec![self.base];
        for sent in &self.sent {
            states.push(states[states.len() - 1].after(sent.step));
        }
        let found = row.state();
        let before = findings.total();
        if !row.is_whole() {
            findings.half_applied += 1;
        }
        let shown_floor = shown.map_or(Some(0), |shown| states.iter().position(|state| *state == shown));
        if shown_floor.is_none() {
            findings.half_applied += 1;
        }
        match states.iter().rposition(|state| *state == found) {
            Some(prefix) => self.judge_prefix(prefix, promise, shown_floor.unwrap_or(0), findings),
            None => self.judge_other(found, promise, findings),
        }
        if findings.total() > before {
            findings.note(format!("{self}\n    shown before: {shown:?}\n    found: {row:?}"));
        }
        let prefix = states.iter().rposition(|state| *state == found).unwrap_or(self.sent.len());
        self.known_bits |= found.bits | events(&self.sent[..prefix]);
        self.base = found;
        self.sent.clear();
    }

    /// A state that stood once: the question is whether it is late enough.
    fn judge_prefix(&self, prefix: usize, promise: Promise, shown_floor: usize, findings: &mut Findings) {
        for (place, sent) in self.sent.iter().enumerate().skip(prefix) {
            let Some(acknowledged) = sent.acknowledged else { continue };
            // An acknowledged operation speaks for those before it.
            if promise.holds(acknowledged) || place < shown_floor {
                findings.note_lost(acknowledged);
            } else {
                findings.note_taken_back(acknowledged);
            }
        }
        let is_shown_lost = shown_floor > prefix
            && self.sent[prefix..shown_floor].iter().all(|sent| sent.acknowledged.is_none());
        findings.lost += u64::from(is_shown_lost);
    }

    /// A state that never was.
    fn judge_other(&self, found: State, promise: Promise, findings: &mut Findings) {
        let last_delete =
            self.sent.iter().rposition(|sent| sent.step == Step::Delete && sent.acknowledged.is_some());
        let alive = &self.sent[last_delete.map_or(0, |place| place + 1)..];
        let promised: Vec<Sent> = alive
            .iter()
            .filter(|sent| sent.acknowledged.is_some_and(|acknowledged| promise.holds(acknowledged)))
            .copied()
            .collect();
        let base_bits = if last_delete.is_some() { 0 } else { self.base.bits };
        let lost = (base_bits | events(&promised)) & !found.bits;
        let is_deleted_later = self.sent.iter().any(|sent| sent.step == Step::Delete);
        let doubled = (found.count - i64::from(found.bits.count_ones())).max(0);
        // A carry makes another bit of one that counts twice.
        let lost = if doubled > 0 || (is_deleted_later && found.bits == 0) { 0 } else { lost };
        // Deleted for good, and counted again.
        let revived = found.bits & !(base_bits | events(alive)) & (self.known_bits | events(&self.sent));
        findings.lost += u64::from(lost.count_ones());
        findings.doubled += doubled.unsigned_abs() + u64::from(revived.count_ones());
        if lost == 0 && doubled == 0 && revived == 0 {
            findings.half_applied += 1;
        }
    }
}

/// In few words: `+3` an acknowledged event, `?3` an undecided one, `-` and `?-` deletions.
impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {:?}, known {:x}:", self.name, self.base, self.known_bits)?;
        let moments = || self.sent.iter().filter_map(|sent| sent.acknowledged);
        if let (Some(first), Some(last)) = (moments().min(), moments().max()) {
            write!(f, " (acknowledged over {} ms)", (last - first).as_millis())?;
        }
        for Sent { step, acknowledged } in &self.sent {
            match (step, acknowledged.is_some()) {
                (Step::Event(bit), true) => write!(f, " +{bit}")?,
                (Step::Event(bit), false) => write!(f, " ?{bit}")?,
                (Step::Delete, true) => f.write_str(" -")?,
                (Step::Delete, false) => f.write_str(" ?-")?,
            }
        }
        Ok(())
    }
}

fn events(sent: &[Sent]) -> i64 {
    sent.iter()
        .map(|sent| if let Step::Event(bit) = sent.step { 1 << bit } else { 0 })
        .fold(0, |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(count: i64, bits: i64, last: Option<i64>) -> Row {
        Row { views: [[count, bits, bits]; 2], last }
    }

    /// Five events, the first three of them acknowledged.
    fn entity(now: Instant) -> Entity {
        let mut entity = Entity::new("e".into());
        for bit in 0..5 {
            assert!(entity.send(Step::Event(bit)));
        }
        for bit in 0..3 {
            entity.acknowledge(Step::Event(bit), now);
        }
        entity
    }

    fn found(mut entity: Entity, row: Row, promise: Promise) -> [u64; 3] {
        let mut findings = Findings::default();
        entity.judge(&row, promise, None, &mut findings);
        let found = [findings.lost, findings.doubled, findings.half_applied];
        // Once told, it is the truth.
        entity.judge(&row, Promise::All, None, &mut findings);
        let half_again = u64::from(!row.is_whole());
        assert_eq!([findings.lost, findings.doubled, findings.half_applied - half_again], found);
        found
    }

    #[test]
    fn every_prefix_from_the_acknowledged_on_is_as_promised() {
        let now = Instant::now();
        assert_eq!(found(entity(now), row(3, 0b111, Some(4)), Promise::All), [0, 0, 0]);
        assert_eq!(found(entity(now), row(4, 0b1111, Some(8)), Promise::All), [0, 0, 0]);
        assert_eq!(found(entity(now), row(5, 0b11111, Some(16)), Promise::All), [0, 0, 0]);
    }

    #[test]
    fn an_acknowledged_event_that_is_not_there_is_lost() {
        let now = Instant::now();
        assert_eq!(found(entity(now), row(1, 1, Some(1)), Promise::All), [2, 0, 0]);
        assert_eq!(found(entity(now), row(0, 0, None), Promise::All), [3, 0, 0]);
        // One in the midst.
        assert_eq!(found(entity(now), row(3, 0b1101, Some(8)), Promise::All), [1, 0, 0]);
    }

    #[test]
    fn an_event_that_counts_twice_is_doubled() {
        let now = Instant::now();
        assert_eq!(found(entity(now), row(4, 1 + 2 + 4 + 4, Some(4)), Promise::All), [0, 1, 0]);
        assert_eq!(found(entity(now), row(6, 0b11111 + 16, Some(16)), Promise::All), [0, 1, 0]);
    }

    #[test]
    fn sides_that_disagree_are_half_an_event() {
        let now = Instant::now();
        let sides = Row { views: [[3, 0b111, 0b111], [2, 0b11, 0b11]], last: Some(4) };
        assert_eq!(found(entity(now), sides, Promise::All), [0, 0, 1]);
        let sums = Row { views: [[3, 0b111, 0b011]; 2], last: Some(4) };
        assert_eq!(found(entity(now), sums, Promise::All), [0, 0, 1]);
        assert_eq!(
            found(entity(now), row(3, 0b111, Some(2)), Promise::All),
            [0, 0, 1],
            "the last is another"
        );
        assert_eq!(
            found(entity(now), row(4, 0b10111, Some(16)), Promise::All),
            [0, 0, 1],
            "a later one without an earlier one"
        );
    }

    #[test]
    fn what_came_after_the_promised_moment_may_be_taken_back() {
        let moment = Instant::now();
        let after = moment + Duration::from_millis(1);
        assert_eq!(found(entity(after), row(0, 0, None), Promise::Before(moment)), [0, 0, 0]);
        assert_eq!(
            found(entity(after), row(0, 0, None), Promise::Before(after + Duration::from_millis(1))),
            [3, 0, 0]
        );
        assert_eq!(found(entity(after), row(0, 0, None), Promise::Nothing), [0, 0, 0]);
    }

    #[test]
    fn what_was_shown_must_stay() {
        let now = Instant::now();
        let state = |count: i64, last: i64| State { count, bits: (1 << count) - 1, last: Some(last) };
        for (shown, lost) in [(state(4, 8), 1), (state(3, 4), 0)] {
            let mut findings = Findings::default();
            entity(now).judge(&row(3, 0b111, Some(4)), Promise::All, Some(shown), &mut findings);
            assert_eq!([findings.lost, findings.half_applied], [lost, 0]);
        }
        let mut findings = Findings::default();
        entity(now).judge(&row(3, 0b111, Some(4)), Promise::All, Some(state(4, 2)), &mut findings);
        assert_eq!(findings.half_applied, 1, "it showed what never was");
    }

    #[test]
    fn a_deletion_takes_all_before_it_and_stays() {
        let now = Instant::now();
        let deleted = || {
            let mut entity = entity(now);
            entity.send(Step::Delete);
            entity.send(Step::Event(5));
            entity
        };
        for row in [row(5, 0b11111, Some(16)), row(0, 0, None), row(1, 32, Some(32))] {
            assert_eq!(found(deleted(), row, Promise::All), [0, 0, 0]);
        }
        let acknowledged = || {
            let mut entity = deleted();
            entity.acknowledge(Step::Delete, now);
            entity
        };
        assert_eq!(found(acknowledged(), row(0, 0, None), Promise::All), [0, 0, 0]);
        assert_eq!(
            found(acknowledged(), row(5, 0b11111, Some(16)), Promise::All),
            [1, 0, 0],
            "the deletion is lost"
        );
        assert_eq!(found(acknowledged(), row(2, 0b100010, Some(32)), Promise::All)[1], 1, "one is back");
    }

    #[test]
    fn a_refused_event_must_not_be_there_and_one_sent_again_counts_once() {
        let mut entity = entity(Instant::now());
        entity.refuse(Step::Event(4));
        assert!(!entity.send(Step::Event(3)), "it is undecided");
        let mut findings = Findings::default();
        entity.judge(&row(4, 0b1111, Some(8)), Promise::All, None, &mut findings);
        assert_eq!(findings.total(), 0);
        assert!(!entity.send(Step::Event(3)), "it came back");
        assert!(entity.send(Step::Event(4)));
        entity.judge(&row(5, 0b11111, Some(16)), Promise::All, None, &mut findings);
        assert_eq!(findings.total(), 0);
        entity.judge(&row(6, 0b11111 + 8, Some(8)), Promise::All, None, &mut findings);
        assert!(findings.doubled > 0);
    }
}
