//! When memory that readers may still look at can be used again.
//!
//! A slot that the index no longer names may still be in the hands of a reader that found it there before. Readers hold
//! nothing across their *quiescent points* (a shard: the end of its tick; the snapshot thread: between batches), so once
//! every participant passed one, or sleeps, no one can reach the slot. Passing a point costs a store and a fence a tick,
//! not a write a read.
//!
//! ```text
//!   owner                               participant
//!     index: the slot is gone             its state: a new number, or asleep     release
//!     fence                               fence (when it goes on)
//!     state of each                       index
//!     ... state of each again
//! ```
//!
//! Both fences are `SeqCst`: either the participant's reads after its point see that the slot is gone, or the owner sees that
//! the point is yet to come, and waits for it.

use crate::{
    handle::Handle,
    padded::Padded,
    planted::{Mistake, is_planted, order},
    sync::{AtomicU64, Ordering, fence},
};
use std::{fmt, sync::Arc as StdArc};

/// The most participants of a domain.
pub const PARTICIPANTS_MAX: usize = 1024;

/// Set in the state of a participant that sleeps; the rest counts its quiescent points.
const ASLEEP: u64 = 1;

/// All threads that read the memory of a group of stores.
pub struct Domain {
    states: Box<[Padded<AtomicU64>]>,
}

impl Domain {
    /// A domain and its participants, one for each thread that reads. They start asleep.
    ///
    /// # Panics
    ///
    /// If `participants` is above [`PARTICIPANTS_MAX`].
    pub fn with_participants(participants: usize) -> (StdArc<Self>, Vec<Participant>) {
        assert!(
            participants <= PARTICIPANTS_MAX,
            "{participants} participants are more than {PARTICIPANTS_MAX}"
        );
        let states = (0..participants).map(|_| Padded::new(AtomicU64::new(ASLEEP))).collect();
        let domain = StdArc::new(Self { states });
        let participants = (0..participants).map(|number| Participant {
            domain: StdArc::clone(&domain),
            number,
            state: ASLEEP,
        });
        let participants = participants.collect();
        (domain, participants)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain").field("participants", &self.states.len()).finish()
    }
}

/// One thread that reads records. To read it must be awake; what it read from, nothing that a reader's closure was given,
/// outlives the next [`Participant::quiescent`].
pub struct Participant {
    domain: StdArc<Domain>,
    number: usize,
    state: u64,
}

impl Participant {
    /// Passes a quiescent point: the end of a tick, or of a batch. Wakes a participant that sleeps.
    #[inline]
    pub fn quiescent(&mut self) {
        self.state = (self.state | ASLEEP).wrapping_add(1);
        self.publish();
        if !is_planted(Mistake::ParticipantFenceSkipped) {
            fence(Ordering::SeqCst);
        }
    }

    /// Reads nothing until the next [`Participant::quiescent`]: no one waits for it.
    pub fn sleep(&mut self) {
        self.state |= ASLEEP;
        self.publish();
    }

    /// Whether it may read.
    pub fn is_awake(&self) -> bool {
        self.state & ASLEEP == 0
    }

    pub(crate) fn belongs_to(&self, domain: &StdArc<Domain>) -> bool {
        StdArc::ptr_eq(&self.domain, domain)
    }

    fn publish(&self) {
        self.domain.states[self.number]
            .store(self.state, order(Mistake::ParticipantStateNotReleased, Ordering::Release));
    }
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Participant")
            .field("number", &self.number)
            .field("is_awake", &self.is_awake())
            .finish()
    }
}

/// The slots that one owner has retired, on their way to being free.
pub(crate) struct Reclaimer {
    domain: StdArc<Domain>,
    /// Retired since the grace period below began; theirs is the next.
    retired: Vec<Handle>,
    /// Free when the grace period is over.
    waiting: Vec<Handle>,
    /// Participants that have not passed a quiescent point since `waiting` was closed: their number, and their state then.
    pending: Vec<(usize, u64)>,
}

impl Reclaimer {
    pub(crate) fn new(domain: StdArc<Domain>) -> Self {
        let pending = Vec::with_capacity(domain.states.len());
        Self { domain, retired: Vec::new(), waiting: Vec::new(), pending }
    }

    /// The slot can no longer be found. It will come out of [`Reclaimer::collect`] once.
    pub(crate) fn retire(&mut self, handle: Handle) {
        self.retired.push(handle);
    }

    /// Slots that are retired and not yet collected.
    pub(crate) fn len(&self) -> usize {
        self.retired.len() + self.waiting.len()
    }

    /// Hands slots that no one can reach any more to `free`, at most `slots_max` of them; returns how many. To be called once a
    /// tick: each call moves the grace period on.
    pub(crate) fn collect(&mut self, slots_max: usize, mut free: impl FnMut(Handle)) -> usize {
        if self.waiting.is_empty() {
            if self.retired.is_empty() {
                return 0;
            }
            std::mem::swap(&mut self.waiting, &mut self.retired);
            self.start_grace_period();
        }
        if !self.is_grace_period_over() {
            return 0;
        }
        let keep = self.waiting.len().saturating_sub(slots_max);
        let collected = self.waiting.len() - keep;
        self.waiting.drain(keep..).for_each(&mut free);
        collected
    }

    fn start_grace_period(&mut self) {
        if !is_planted(Mistake::OwnerFenceSkipped) {
            fence(Ordering::SeqCst);
        }
        let states = self.domain.states.iter().enumerate();
        self.pending.clear();
        self.pending.extend(states.map(|(number, state)| (number, state.load(Ordering::Acquire))));
        self.pending.retain(|(_, state)| state & ASLEEP == 0);
        if is_planted(Mistake::GracePeriodSkipped) {
            self.pending.clear();
        }
    }

    fn is_grace_period_over(&mut self) -> bool {
        let states = &self.domain.states;
        self.pending.retain(|(number, then)| {
            states[*number].load(order(Mistake::ParticipantStateNotAcquired, Ordering::Acquire)) == *then
        });
        self.pending.is_empty()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Domain, Participant, Reclaimer};
    use crate::handle::Handle;

    fn collected(reclaimer: &mut Reclaimer) -> Vec<Handle> {
        let mut handles = Vec::new();
        reclaimer.collect(100, |handle| handles.push(handle));
        handles
    }

    fn awake(mut participants: Vec<Participant>) -> Vec<Participant> {
        participants.iter_mut().for_each(Participant::quiescent);
        participants
    }

    #[test]
    fn slot_is_free_after_every_participant_passed_a_quiescent_point() {
        let (domain, participants) = Domain::with_participants(3);
        let mut participants = awake(participants);
        let mut reclaimer = Reclaimer::new(domain);
        let slot = Handle::new(1, 0);
        reclaimer.retire(slot);
        for participant in &mut participants {
            assert_eq!(collected(&mut reclaimer), []);
            participant.quiescent();
        }
        assert_eq!(collected(&mut reclaimer), [slot]);
        assert_eq!((collected(&mut reclaimer).len(), reclaimer.len()), (0, 0));
    }

    #[test]
    fn no_one_waits_for_a_participant_that_sleeps() {
        let (domain, participants) = Domain::with_participants(2);
        let mut participants = awake(participants);
        let mut reclaimer = Reclaimer::new(domain);
        participants[0].sleep();
        reclaimer.retire(Handle::new(1, 0));
        assert_eq!(collected(&mut reclaimer), []);
        participants[1].sleep();
        assert_eq!(collected(&mut reclaimer).len(), 1);
    }

    #[test]
    fn slot_retired_during_a_grace_period_waits_for_the_next() {
        let (domain, participants) = Domain::with_participants(1);
        let mut participants = awake(participants);
        let mut reclaimer = Reclaimer::new(domain);
        let (first, second) = (Handle::new(1, 0), Handle::new(1, 4));
        reclaimer.retire(first);
        assert_eq!(collected(&mut reclaimer), []);
        reclaimer.retire(second);
        participants[0].quiescent();
        assert_eq!(collected(&mut reclaimer), [first]);
        assert_eq!(collected(&mut reclaimer), [], "its grace period begins here");
        participants[0].quiescent();
        assert_eq!(collected(&mut reclaimer), [second]);
    }

    #[test]
    fn participant_that_slept_and_woke_counts_as_having_passed() {
        let (domain, participants) = Domain::with_participants(1);
        let mut participants = awake(participants);
        let mut reclaimer = Reclaimer::new(domain);
        reclaimer.retire(Handle::new(1, 0));
        assert_eq!(collected(&mut reclaimer), []);
        participants[0].sleep();
        assert!(!participants[0].is_awake());
        participants[0].quiescent();
        assert!(participants[0].is_awake());
        assert_eq!(collected(&mut reclaimer).len(), 1);
    }

    #[test]
    fn one_call_hands_back_a_bounded_number_and_the_next_the_rest() {
        let (domain, _participants) = Domain::with_participants(1);
        let mut reclaimer = Reclaimer::new(domain);
        (0..110).for_each(|slot| reclaimer.retire(Handle::new(1, slot)));
        assert_eq!(collected(&mut reclaimer).len(), 100);
        assert_eq!(collected(&mut reclaimer).len(), 10);
    }
}
