//! Who does the work of a start.

use windrow_engine::{Catalogue, Shard};

use super::StartError;
use crate::replay::{Dealer, Portion, Stopped};

/// A piece of work that needs nothing of the others.
pub type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Does the work of a start, on as many threads as it likes.
pub trait Workers {
    /// Does all of the jobs, in any order; returns when they are done.
    fn run(&self, jobs: Vec<Job<'_>>);

    /// Calls `read` once with a dealer to the shards, and has each portion applied to the shard that it was dealt to, each shard's in
    /// order. Gives the shards back, with all portions applied.
    ///
    /// # Errors
    /// [`StartError::Operation`] of the first operation that a shard could not apply; otherwise what `read` failed with.
    fn replay(
        &self,
        catalogue: &Catalogue,
        shards: Vec<Shard>,
        read: &mut dyn FnMut(&mut Dealer<'_>) -> Result<(), StartError>,
    ) -> Result<Vec<Shard>, StartError>;
}

/// Does everything on the thread that asks, in order: the same each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequential;

impl Workers for Sequential {
    fn run(&self, jobs: Vec<Job<'_>>) {
        jobs.into_iter().for_each(|job| job());
    }

    fn replay(
        &self,
        catalogue: &Catalogue,
        mut shards: Vec<Shard>,
        read: &mut dyn FnMut(&mut Dealer<'_>) -> Result<(), StartError>,
    ) -> Result<Vec<Shard>, StartError> {
        let mut damage = None;
        let count = shards.len();
        let mut apply = |shard: usize, portion: Portion| {
            portion.apply(catalogue, &mut shards[shard]).map_err(|error| {
                damage = damage.or(Some(error));
                Stopped
            })
        };
        let mut dealer = Dealer::new(count, &mut apply);
        let read = read(&mut dealer);
        let finished = dealer.finish();
        match damage {
            // It says more than the reader's error, which it caused.
            Some(error) => Err(StartError::Operation(error)),
            None => {
                assert!(finished.is_ok(), "a shard that has not failed takes everything");
                read.map(|()| shards)
            }
        }
    }
}
