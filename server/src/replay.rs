//! The work of a start on all cores: a thread a shard builds it out of an image, and applies its operations while one thread reads the log
//! and deals them.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use windrow_durability::replay::{Dealer, Portion, Stopped};
use windrow_durability::start::{Job, StartError, Workers};
use windrow_engine::op::OpError;
use windrow_engine::{Catalogue, Shard};

/// Portions that wait for a shard; then the reader waits.
const PORTIONS_WAITING_MAX: usize = 8;

/// One thread a shard.
pub(crate) struct Threads;

impl Workers for Threads {
    fn run(&self, jobs: Vec<Job<'_>>) {
        thread::scope(|scope| {
            for job in jobs {
                scope.spawn(job);
            }
        });
    }

    fn replay(
        &self,
        catalogue: &Catalogue,
        shards: Vec<Shard>,
        read: &mut dyn FnMut(&mut Dealer<'_>) -> Result<(), StartError>,
    ) -> Result<Vec<Shard>, StartError> {
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
                Some(error) => Err(StartError::Operation(error)),
                None => {
                    assert!(finished.is_ok(), "a shard that has not failed takes everything");
                    read.map(|()| applied)
                }
            }
        })
    }
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

    fn shards() -> Vec<Shard> {
        let (domain, _) = Domain::with_participants(0);
        let config = ShardConfig { hash_key: HashKey([1, 2]), maxmemory_bytes: 0, reserved_bytes: 64 << 20 };
        (0..3).map(|_| Shard::new(config, &domain).unwrap()).collect()
    }

    #[test]
    fn a_reader_that_fails_ends_the_replay_with_its_error() {
        let outcome = Threads.replay(&Catalogue::default(), shards(), &mut |_| Err(StartError::Cancelled));
        assert!(matches!(outcome.err(), Some(StartError::Cancelled)));
    }

    #[test]
    fn every_job_is_done_before_it_goes_on() {
        let mut done = [false; 9];
        Threads.run(done.iter_mut().map(|done| Box::new(move || *done = true) as Job<'_>).collect());
        assert_eq!(done, [true; 9]);
    }
}
