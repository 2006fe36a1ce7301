//! Replay on all cores: one thread reads the log and deals its operations by owner, one thread a shard applies them.
//!
//! An entity's operations go through one queue in the order of the log, so each shard ends up as if it had read the log
//! alone; a stream's clock is a maximum, for which the order does not matter.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use windrow_engine::op::{self, AnyOp, OpError};
use windrow_engine::{Catalogue, Shard, slot};

/// Operations go to a shard in portions of about so many bytes.
const PORTION_BYTES: usize = 256 << 10;
/// Portions that wait for a shard; then the reader waits.
const PORTIONS_WAITING_MAX: usize = 8;

/// Deals operations to shards.
pub(crate) struct Dealer {
    queues: Vec<Queue>,
}

struct Queue {
    portion: Portion,
    sender: SyncSender<Portion>,
}

/// Operations of one shard, and the packed position of each.
#[derive(Default)]
struct Portion {
    ops: Vec<u8>,
    positions: Vec<u64>,
}

/// A shard's thread has given up: its own error says why.
#[derive(Debug)]
pub(crate) struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a shard could not apply an operation of the log")
    }
}

impl std::error::Error for Stopped {}

/// Runs `read`, which deals operations, while the shards apply them. Gives the shards back.
///
/// # Errors
/// What `read` fails with, or `damaged` of the first operation that a shard could not apply.
pub(crate) fn replay<T, E>(
    catalogue: &Catalogue,
    shards: Vec<Shard>,
    read: impl FnOnce(&mut Dealer) -> Result<T, E>,
    damaged: impl FnOnce(OpError) -> E,
) -> Result<(T, Vec<Shard>), E> {
    thread::scope(|scope| {
        let mut queues = Vec::with_capacity(shards.len());
        let mut appliers = Vec::with_capacity(shards.len());
        for shard in shards {
            let (sender, receiver) = sync_channel(PORTIONS_WAITING_MAX);
            queues.push(Queue { portion: Portion::default(), sender });
            appliers.push(scope.spawn(move || apply(catalogue, shard, &receiver)));
        }
        let mut dealer = Dealer { queues };
        let read = read(&mut dealer);
        let finished = dealer.finish();
        let mut applied = Vec::with_capacity(appliers.len());
        let mut damage = None;
        for applier in appliers {
            match applier.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(shard) => applied.push(shard),
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        match damage {
            // A shard's own error says more than the reader's, which it caused.
            Some(error) => Err(damaged(error)),
            None => {
                assert!(finished.is_ok(), "a shard that has not failed takes everything");
                read.map(|value| (value, applied))
            }
        }
    })
}

fn apply(catalogue: &Catalogue, mut shard: Shard, portions: &Receiver<Portion>) -> Result<Shard, OpError> {
    for portion in portions {
        for (op, &position) in op::iter(&portion.ops).zip(&portion.positions) {
            shard.replay(catalogue, op?, position)?;
        }
    }
    Ok(shard)
}

impl Dealer {
    /// Deals the operations of one group, the first of which is at the packed position `first`.
    ///
    /// # Errors
    /// When the bytes are not operations, or a shard has given up.
    pub(crate) fn deal(
        &mut self,
        first: u64,
        ops: &[u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let shards = self.queues.len();
        for (op, position) in op::iter(ops).zip(first..) {
            let op = op?;
            let entity = AnyOp::decode(op)?.entity();
            let queue = &mut self.queues[slot::shard_of(slot::hash_slot(entity), shards)];
            queue.portion.ops.extend_from_slice(op);
            queue.portion.positions.push(position);
            if queue.portion.ops.len() >= PORTION_BYTES {
                queue.send()?;
            }
        }
        Ok(())
    }

    /// Sends what is left and closes the queues.
    fn finish(mut self) -> Result<(), Stopped> {
        self.queues.iter_mut().try_for_each(Queue::send)
    }
}

impl Queue {
    fn send(&mut self) -> Result<(), Stopped> {
        let portion = std::mem::take(&mut self.portion);
        self.sender.send(portion).map_err(|_| Stopped)
    }
}

#[cfg(test)]
mod tests {
    use windrow_engine::catalogue::Created;
    use windrow_engine::{HashKey, ShardConfig, form};
    use windrow_memory::Domain;
    use windrow_window::Definition;

    use super::*;

    const SHARDS: usize = 3;
    const KEY: HashKey = HashKey([1, 2]);

    fn shards() -> Vec<Shard> {
        let (domain, _) = Domain::with_participants(0);
        let config = ShardConfig { hash_key: KEY, maxmemory_bytes: 0, reserved_bytes: 64 << 20 };
        (0..SHARDS).map(|_| Shard::new(config, &domain).unwrap()).collect()
    }

    fn catalogue() -> Catalogue {
        let definition = Definition::parse_text("s", "WINDOWS 1h@1m AGGREGATE count").unwrap();
        match Catalogue::default().created(definition, 0).unwrap() {
            Created::New(catalogue) => catalogue,
            Created::Same => unreachable!("the catalogue was empty"),
        }
    }

    #[test]
    fn every_operation_reaches_its_owner() {
        let catalogue = catalogue();
        let stream = catalogue.stream(b"s").unwrap();
        let read = |dealer: &mut Dealer| -> Result<(), String> {
            for group in 0..200 {
                let mut ops = Vec::new();
                for i in 0..100 {
                    let entity = format!("e{}", group * 100 + i);
                    form::encode_add(
                        &mut ops,
                        stream,
                        entity.as_bytes(),
                        [&b"*"[..]].into_iter(),
                        1_000,
                        &KEY,
                    )
                    .unwrap();
                }
                dealer.deal(1 + group * 100, &ops).map_err(|error| error.to_string())?;
            }
            Ok(())
        };
        let ((), shards) = replay(&catalogue, shards(), read, |error| error.to_string()).unwrap();
        assert_eq!(shards.iter().map(Shard::entities).sum::<u64>(), 20_000);
        assert!(shards.iter().all(|shard| shard.entities() > 5_000));
    }

    #[test]
    fn a_reader_that_fails_ends_the_replay_with_its_error() {
        let catalogue = catalogue();
        let outcome = replay(
            &catalogue,
            shards(),
            |_| Err::<(), _>("unreadable".to_owned()),
            |error| error.to_string(),
        );
        assert_eq!(outcome.err().as_deref(), Some("unreadable"));
    }
}
