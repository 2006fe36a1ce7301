//! Spikes: for each event, when it last took longer than `latency-monitor-threshold`. What LATENCY shows.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many spikes of an event are kept, as in Redis.
const SPIKES_MAX: usize = 160;

/// What may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LatencyEvent {
    /// A command that is not [`LatencyEvent::FastCommand`].
    Command,
    /// A command whose flags say that it takes a time independent of the amount of data.
    FastCommand,
    /// One round of a shard's loop: what every client of the shard waits for.
    Tick,
    /// The part of a tick that writes the log.
    LogWrite,
    /// A sync of the log, by a thread of its own.
    LogFsync,
    /// The writing of an image, by threads of its own.
    Snapshot,
    /// The part of a tick for upkeep: reclaiming the dead, and a slice of WINDOW.TOP.
    ExpireCycle,
}

impl LatencyEvent {
    pub(crate) const ALL: [Self; 7] = [
        Self::Command,
        Self::FastCommand,
        Self::Tick,
        Self::LogWrite,
        Self::LogFsync,
        Self::Snapshot,
        Self::ExpireCycle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
            Self::Tick => "tick",
            Self::LogWrite => "log-write",
            Self::LogFsync => "log-fsync",
            Self::Snapshot => "snapshot",
            Self::ExpireCycle => "expire-cycle",
        }
    }

    /// The event of this name, in letters of either case.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// The longest time of an event in one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spike {
    /// Unix seconds.
    pub(crate) at_s: i64,
    pub(crate) ms: u64,
}

/// The spikes of one event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spikes {
    /// The last ones, the oldest first.
    pub(crate) last: VecDeque<Spike>,
    /// The longest of all, those that are not kept any more included.
    pub(crate) ms_max: u64,
}

impl Spikes {
    fn add(&mut self, spike: Spike) {
        self.ms_max = self.ms_max.max(spike.ms);
        match self.last.back_mut() {
            Some(same) if same.at_s == spike.at_s => same.ms = same.ms.max(spike.ms),
            _ => {
                if self.last.len() == SPIKES_MAX {
                    self.last.pop_front();
                }
                self.last.push_back(spike);
            }
        }
    }
}

/// The spikes of every event.
#[derive(Debug, Default)]
pub(crate) struct LatencyMonitor(Mutex<[Spikes; LatencyEvent::ALL.len()]>);

impl LatencyMonitor {
    /// An event took so long.
    pub(crate) fn add(&self, event: LatencyEvent, at_s: i64, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.lock()[event as usize].add(Spike { at_s, ms });
    }

    /// What is known of an event.
    pub(crate) fn of(&self, event: LatencyEvent) -> Spikes {
        self.lock()[event as usize].clone()
    }

    /// Forgets an event's spikes. False: there were none.
    pub(crate) fn reset(&self, event: LatencyEvent) -> bool {
        !std::mem::take(&mut self.lock()[event as usize]).last.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, [Spikes; LatencyEvent::ALL.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_found_by_its_name_and_has_its_own_spikes() {
        let monitor = LatencyMonitor::default();
        for (index, event) in LatencyEvent::ALL.into_iter().enumerate() {
            assert_eq!(
                (LatencyEvent::from_name(event.name().as_bytes()), event as usize),
                (Some(event), index)
            );
            monitor.add(event, 5, Duration::from_millis(index as u64));
        }
        for (index, event) in LatencyEvent::ALL.into_iter().enumerate() {
            assert_eq!(monitor.of(event).last, [Spike { at_s: 5, ms: index as u64 }]);
        }
        assert_eq!(LatencyEvent::from_name(b"fork"), None);
    }

    #[test]
    fn a_second_has_one_spike_the_longest_and_the_last_are_kept() {
        let monitor = LatencyMonitor::default();
        let add = |at_s, ms| monitor.add(LatencyEvent::Tick, at_s, Duration::from_millis(ms));
        add(1, 900);
        for at_s in 2..=200 {
            add(at_s, 10);
            add(at_s, 30);
            add(at_s, 20);
        }
        let spikes = monitor.of(LatencyEvent::Tick);
        assert_eq!((spikes.last.len(), spikes.ms_max), (SPIKES_MAX, 900));
        assert!(spikes.last.iter().zip(41..).all(|(spike, at_s)| *spike == Spike { at_s, ms: 30 }));
        assert!(monitor.reset(LatencyEvent::Tick) && !monitor.reset(LatencyEvent::Tick));
        assert_eq!(monitor.of(LatencyEvent::Tick).ms_max, 0);
    }
}
