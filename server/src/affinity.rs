//! Where threads run, and who gives way to whom.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, by number.
pub(crate) fn cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(error) => {
            tracing::debug!("the cores of this process are not known: {error}");
            Vec::new()
        }
    }
}

/// Pins the calling thread to one core. Without success it runs where the system puts it.
pub(crate) fn pin_to(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::debug!("cannot pin a shard to core {core}: {error}");
    }
}

/// Makes the calling thread give way to others: 19 most of all.
pub(crate) fn be_nice(niceness: i32) {
    // A thread has a priority of its own under the number of the thread.
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), niceness) {
        tracing::debug!("cannot lower the priority of a thread: {error}");
    }
}
