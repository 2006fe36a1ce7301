//! Replay on all cores: one thread reads the log and deals its operations by owner, one thread a shard applies them.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use windrow_durability::replay::{Dealer, Portion, Stopped};
use windrow_engine::op::OpError;
use windrow_engine::{Catalogue, Shard};

/// Portions that wait for a shard; then the reader waits.
const PORTIONS_WAITING_MAX: usize = 8;

/// Runs `read`, which deals operations, while the shards apply them. Gives the shards back.
///
/// # Errors
/// What `read` fails with, or `damaged` of the first operation that a shard could not apply.
pub(crate) fn replay<T, E>(
    catalogue: &Catalogue,
    shards: Vec<Shard>,
    read: impl FnOnce(&mut Dealer<'_>) -> Result<T, E>,
    damaged: impl FnOnce(OpError) -> E,
) -> Result<(T, Vec<Shard>), E> {
    thread::scope(|scope| {
        let mut queues = Vec::with_capacity(shards.len());
        let mut appliers = Vec::with_capacity(shards.len());
        for shard in shards {
            let (sender, receiver) = sync_channel::<Portion>(PORTIONS_WAITING_MAX);
            queues.push(sender);
            appliers.push(scope.spawn(move || apply(catalogue, shard, &receiver)));
        }
        let mut send = |shard: usize, portion| queues[shard].send(portion).map_err(|_| Stopped);
        let mut dealer = Dealer::new(appliers.len(), &mut send);
        let read = read(&mut dealer);
        let finished = dealer.finish();
        drop(queues);
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
        portion.apply(catalogue, &mut shard)?;
    }
    Ok(shard)
}

#[cfg(test)]
mod tests {
    use windrow_engine::{HashKey, ShardConfig};
    use windrow_memory::Domain;

    use super::*;

    #[test]
    fn a_reader_that_fails_ends_the_replay_with_its_error() {
        let (domain, _) = Domain::with_participants(0);
        let config = ShardConfig { hash_key: HashKey([1, 2]), maxmemory_bytes: 0, reserved_bytes: 64 << 20 };
        let shards = (0..3).map(|_| Shard::new(config, &domain).unwrap()).collect();
        let outcome = replay(
            &Catalogue::default(),
            shards,
            |_| Err::<(), _>("unreadable".to_owned()),
            |error| error.to_string(),
        );
        assert_eq!(outcome.err().as_deref(), Some("unreadable"));
    }
}
