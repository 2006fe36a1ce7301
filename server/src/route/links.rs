//! The rings of one shard: towards each other shard a ring of questions out and one of answers back, and the reverse.
//!
//! Credits: a shard has at most [`CREDITS`] batches on their round trip to one other shard, those that wait there for
//! a sync included. Both rings of a pair hold that many, so a push cannot fail. Without credit, questions collect in
//! the open batch; when that is full too, the sockets that would add to it are not read.

use std::collections::VecDeque;

use windrow_memory::ring::{self, Consumer, Producer};

use super::batch::Batch;

/// Most batches on their round trip between two shards, in one direction.
pub(crate) const CREDITS: usize = 32;
/// Empty batches that a shard keeps.
const SPARE_MAX: usize = 64;

/// The ends of all rings that one shard holds, by the number of the other shard.
pub(crate) struct Links {
    outbound: Vec<Option<Outbound>>,
    inbound: Vec<Option<Inbound>>,
    // Boxes: a batch goes through the rings as one pointer.
    #[expect(clippy::vec_box, reason = "batches travel boxed and are kept as they travel")]
    spare: Vec<Box<Batch>>,
}

/// Towards a shard that this one asks.
struct Outbound {
    open: Option<Box<Batch>>,
    in_flight: usize,
    questions: Producer<Box<Batch>>,
    answers: Consumer<Box<Batch>>,
}

/// From a shard that asks this one.
struct Inbound {
    questions: Consumer<Box<Batch>>,
    answers: Producer<Box<Batch>>,
    /// Answered batches, each with the position that must be releasable before it goes back; in order.
    held: VecDeque<Held>,
}

struct Held {
    batch: Box<Batch>,
    position: u64,
}

impl Links {
    /// Makes the rings among `shards` shards; element i is shard i's.
    pub(crate) fn mesh(shards: usize) -> Vec<Links> {
        let mut links: Vec<Links> = (0..shards)
            .map(|_| Links {
                outbound: (0..shards).map(|_| None).collect(),
                inbound: (0..shards).map(|_| None).collect(),
                spare: Vec::new(),
            })
            .collect();
        for asker in 0..shards {
            for owner in (0..shards).filter(|&owner| owner != asker) {
                let (questions_in, questions_out) = ring::channel(CREDITS);
                let (answers_in, answers_out) = ring::channel(CREDITS);
                links[asker].outbound[owner] = Some(Outbound {
                    open: None,
                    in_flight: 0,
                    questions: questions_in,
                    answers: answers_out,
                });
                links[owner].inbound[asker] =
                    Some(Inbound { questions: questions_out, answers: answers_in, held: VecDeque::new() });
            }
        }
        links
    }

    /// Whether a question to `shard` can be added now.
    #[inline]
    pub(crate) fn has_credit(&self, shard: usize) -> bool {
        let out = self.outbound[shard].as_ref().expect("a shard does not ask itself");
        out.in_flight < CREDITS || !out.open.as_ref().is_some_and(|batch| batch.is_full())
    }

    /// The batch for `shard` to add one question to. Who can wait asks [`Links::has_credit`] first; a read that turned out to need
    /// its owner cannot, and there are at most a staged batch of these.
    pub(crate) fn open_batch(&mut self, shard: usize, catalogue_version: u64) -> &mut Batch {
        let out = self.outbound[shard].as_mut().expect("a shard does not ask itself");
        if out.in_flight < CREDITS && out.open.as_ref().is_some_and(|batch| batch.is_full()) {
            out.send();
        }
        let batch = out.open.get_or_insert_with(|| self.spare.pop().unwrap_or_default());
        batch.catalogue_version = batch.catalogue_version.max(catalogue_version);
        batch
    }

    /// Sends every open batch for which there is credit; calls `sent` with each shard that got one, this time or by
    /// filling up earlier in the tick.
    pub(crate) fn flush(&mut self, mut sent: impl FnMut(usize)) {
        for (shard, out) in self.outbound.iter_mut().enumerate() {
            let Some(out) = out else { continue };
            if out.in_flight < CREDITS && out.open.as_ref().is_some_and(|batch| !batch.is_empty()) {
                out.send();
            }
            if !out.questions.is_empty() {
                sent(shard);
            }
        }
    }

    /// The next batch of questions from `shard`.
    pub(crate) fn next_question(&mut self, shard: usize) -> Option<Box<Batch>> {
        self.inbound[shard].as_mut()?.questions.pop()
    }

    /// Keeps an answered batch of `shard` until `position` is releasable.
    pub(crate) fn hold_answer(&mut self, shard: usize, batch: Box<Batch>, position: u64) {
        let inbound = self.inbound[shard].as_mut().expect("a shard does not answer itself");
        let position = inbound.held.back().map_or(position, |last| last.position.max(position));
        inbound.held.push_back(Held { batch, position });
        assert!(inbound.held.len() <= CREDITS, "more batches are in flight than there are credits");
    }

    /// Sends held answers up to `releasable` back; calls `sent` with each shard that got one.
    pub(crate) fn release_answers(&mut self, releasable: u64, mut sent: impl FnMut(usize)) {
        for (shard, inbound) in self.inbound.iter_mut().enumerate() {
            let Some(inbound) = inbound else { continue };
            let mut any = false;
            while inbound.held.front().is_some_and(|held| held.position <= releasable) {
                let held = inbound.held.pop_front().expect("looked at above");
                let pushed = inbound.answers.try_push(held.batch);
                assert!(pushed.is_ok(), "the ring of answers holds all credits");
                any = true;
            }
            if any {
                sent(shard);
            }
        }
    }

    /// The log failed: what is held answers that the outcome of its writes past `kept` is unknown, and goes at once.
    pub(crate) fn fail_held(&mut self, kept: u64, unknown: &[u8]) {
        for held in self.inbound.iter_mut().flatten().flat_map(|inbound| &mut inbound.held) {
            held.batch.fail_writes(kept, unknown);
            held.position = 0;
        }
    }

    /// The next answered batch from `shard`: its credit is free again.
    pub(crate) fn next_answer(&mut self, shard: usize) -> Option<Box<Batch>> {
        let out = self.outbound[shard].as_mut()?;
        let batch = out.answers.pop()?;
        out.in_flight -= 1;
        Some(batch)
    }

    /// Takes a batch back after its trip.
    pub(crate) fn recycle(&mut self, mut batch: Box<Batch>) {
        if batch.reset() && self.spare.len() < SPARE_MAX {
            self.spare.push(batch);
        }
    }

    /// Whether a ring holds something for this shard. Asked by the wake gate.
    pub(crate) fn has_input(&self) -> bool {
        self.inbound.iter().flatten().any(|inbound| !inbound.questions.is_empty())
            || self.outbound.iter().flatten().any(|out| !out.answers.is_empty())
    }

    /// Whether an open batch could be sent now.
    pub(crate) fn has_sendable(&self) -> bool {
        let sendable = |out: &Outbound| {
            out.in_flight < CREDITS && out.open.as_ref().is_some_and(|open| !open.is_empty())
        };
        self.outbound.iter().flatten().any(sendable)
    }

    /// Whether this shard neither waits for an answer nor holds one back.
    pub(crate) fn is_quiet(&self) -> bool {
        self.outbound
            .iter()
            .flatten()
            .all(|out| out.in_flight == 0 && out.open.as_ref().is_none_or(|open| open.is_empty()))
            && self.inbound.iter().flatten().all(|inbound| inbound.held.is_empty())
    }
}

impl Outbound {
    fn send(&mut self) {
        let batch = self.open.take().expect("only an open batch is sent");
        assert!(self.in_flight < CREDITS, "sending needs a credit");
        self.in_flight += 1;
        let pushed = self.questions.try_push(batch);
        assert!(pushed.is_ok(), "the ring of questions holds all credits");
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::tests::Nobody;
    use super::*;
    use crate::connection::{ConnectionId, ReplyTo};
    use crate::route::batch::BATCH_ITEMS_MAX;

    const CONNECTION: ConnectionId = ConnectionId { index: 0, generation: 0 };

    fn ask(links: &mut Links, slot: u64) {
        let batch = links.open_batch(1, 0);
        batch.payload().extend_from_slice(b"op");
        batch.push_write(CONNECTION, ReplyTo::Slot(slot), slot);
    }

    #[test]
    fn without_credit_questions_collect_until_the_open_batch_is_full() {
        let mut mesh = Links::mesh(2);
        let mut asked = 0;
        while mesh[0].has_credit(1) {
            ask(&mut mesh[0], asked);
            mesh[0].flush(|_| {});
            asked += 1;
        }
        assert_eq!(asked as usize, CREDITS + BATCH_ITEMS_MAX);
    }

    #[test]
    fn a_held_answer_keeps_its_credit_until_the_log_is_safe() {
        let mut mesh = Links::mesh(2);
        for slot in 0..CREDITS as u64 {
            ask(&mut mesh[0], slot);
            mesh[0].flush(|_| {});
        }
        for position in 1..=CREDITS as u64 {
            let mut batch = mesh[1].next_question(0).unwrap();
            batch.answer_all(&mut Nobody, |_, _, _, out| {
                out.extend_from_slice(b"+OK\r\n");
                position
            });
            mesh[1].hold_answer(0, batch, position);
        }
        assert!(mesh[0].next_answer(1).is_none());
        mesh[1].release_answers(3, |_| {});
        for _ in 0..3 {
            let batch = mesh[0].next_answer(1).unwrap();
            assert!(batch.replies().all(|(_, reply)| reply == b"+OK\r\n"));
            mesh[0].recycle(batch);
        }
        assert!(mesh[0].next_answer(1).is_none());
        mesh[1].fail_held(3, b"-U\r\n");
        mesh[1].release_answers(3, |_| {});
        assert!(mesh[0].next_answer(1).unwrap().replies().all(|(_, reply)| reply == b"-U\r\n"));
    }

    #[test]
    fn an_answer_does_not_overtake_an_earlier_one() {
        let mut mesh = Links::mesh(2);
        for slot in 0..2 {
            ask(&mut mesh[0], slot);
            mesh[0].flush(|_| {});
        }
        for position in [9, 0] {
            let mut batch = mesh[1].next_question(0).unwrap();
            batch.answer_all(&mut Nobody, |_, _, _, _| position);
            mesh[1].hold_answer(0, batch, position);
        }
        mesh[1].release_answers(8, |_| {});
        assert!(mesh[0].next_answer(1).is_none());
    }
}
