//! How long ticks take, and where: the longest one since CONFIG RESETSTAT, phase by phase, beside what the thread was on a
//! processor for. A tick that is long by the clock and short by the processor's time was not ours: another thread ran on this
//! core.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use quanta::Instant;
use rustix::time::{ClockId, clock_gettime};

/// The parts of a tick that are told apart, in their order.
pub(crate) const PHASES: [&str; 6] = ["memory", "turns", "answers", "log", "replies", "upkeep"];

/// Reading the thread's processor time is a system call, so it is done at the end of ticks of at least so long alone.
/// Under load these follow each other, and the end of one is the beginning of the next.
const CPU_READ_FROM: Duration = Duration::from_micros(100);

/// Ticks longer than this are counted: no tick should be.
pub(crate) const SLOW_TICK: Duration = Duration::from_micros(500);

/// The clock of one tick.
#[derive(Debug)]
pub(super) struct TickTime {
    started: Instant,
    /// When the present phase began.
    since: Instant,
    phase: usize,
    spent: [Duration; PHASES.len()],
    /// The thread's processor time at the end of the tick before, where that was read.
    cpu_before: Option<Duration>,
}

impl TickTime {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        TickTime {
            started: now,
            since: now,
            phase: 0,
            spent: [Duration::ZERO; PHASES.len()],
            cpu_before: None,
        }
    }

    /// A tick begins.
    pub(super) fn start(&mut self) {
        self.started = Instant::now();
        self.since = self.started;
        self.phase = 0;
    }

    /// The next phase begins.
    #[inline]
    pub(super) fn next_phase(&mut self) {
        let now = Instant::now();
        self.spent[self.phase] = now.duration_since(self.since);
        self.since = now;
        self.phase += 1;
    }

    /// When the present phase began.
    #[inline]
    pub(super) fn phase_began(&self) -> Instant {
        self.since
    }

    /// How long the present phase has taken.
    #[inline]
    pub(super) fn in_phase(&self) -> Duration {
        self.since.elapsed()
    }

    /// What the phases before this one took.
    #[inline]
    pub(super) fn before_phase(&self) -> Duration {
        self.since.duration_since(self.started)
    }

    /// What a phase of the tick that is over took.
    pub(super) fn spent_in(&self, phase: &str) -> Duration {
        let phase = PHASES.iter().position(|name| *name == phase);
        self.spent[phase.expect("it is one of PHASES")]
    }

    /// The tick is over: keeps it if it is the longest. Gives its length.
    pub(super) fn end(&mut self, longest: &LongestTick) -> Duration {
        debug_assert_eq!(self.phase, PHASES.len() - 1, "every phase was passed");
        let now = Instant::now();
        self.spent[self.phase] = now.duration_since(self.since);
        let all = now.duration_since(self.started);
        let cpu_now = (all >= CPU_READ_FROM).then(thread_cpu_time);
        // Between two ticks lies a poll, of a microsecond or two while there is load.
        let cpu = match (self.cpu_before, cpu_now) {
            (Some(before), Some(now)) => now.saturating_sub(before).min(all),
            _ => all,
        };
        self.cpu_before = cpu_now;
        let micros = |time: Duration| time.as_micros() as u64;
        longest.cpu_us.fetch_max(micros(cpu), Relaxed);
        if all > SLOW_TICK {
            longest.slow_ticks.fetch_add(1, Relaxed);
            longest.slow_on_cpu.fetch_add(u64::from(cpu > SLOW_TICK), Relaxed);
            tracing::debug!("a tick of {all:?}, {cpu:?} of it on a processor: {PHASES:?} {:?}", self.spent);
        }
        if micros(all) > longest.us.load(Relaxed) {
            longest.us.store(micros(all), Relaxed);
            longest.us_on_cpu.store(micros(cpu), Relaxed);
            for (phase, spent) in longest.phases_us.iter().zip(self.spent) {
                phase.store(micros(spent), Relaxed);
            }
        }
        all
    }
}

fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// The longest tick of a shard, as other threads see it.
#[derive(Debug, Default)]
pub(crate) struct LongestTick {
    pub(crate) us: AtomicU64,
    /// For how much of it the thread was on a processor, as far as that is known; else all of it.
    pub(crate) us_on_cpu: AtomicU64,
    /// Of it, by phase.
    pub(crate) phases_us: [AtomicU64; PHASES.len()],
    /// Ticks longer than [`SLOW_TICK`].
    pub(crate) slow_ticks: AtomicU64,
    /// Of these, those that took a processor so long.
    pub(crate) slow_on_cpu: AtomicU64,
    /// The most processor time of any tick.
    pub(crate) cpu_us: AtomicU64,
}

impl LongestTick {
    /// CONFIG RESETSTAT.
    pub(crate) fn reset(&self) {
        for number in [&self.us, &self.us_on_cpu, &self.slow_ticks, &self.slow_on_cpu, &self.cpu_us]
            .into_iter()
            .chain(&self.phases_us)
        {
            number.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(time: &mut TickTime, longest: &LongestTick, phase_of_sleep: usize, sleep: Duration) {
        time.start();
        for phase in 0..PHASES.len() {
            if phase > 0 {
                time.next_phase();
            }
            if phase == phase_of_sleep {
                std::thread::sleep(sleep);
            }
        }
        time.end(longest);
    }

    #[test]
    fn longest_tick_is_kept_with_where_it_was_spent_until_it_is_reset() {
        let (mut time, longest) = (TickTime::new(), LongestTick::default());
        tick(&mut time, &longest, 3, Duration::from_millis(20));
        tick(&mut time, &longest, 1, Duration::ZERO);
        let (all, log) = (longest.us.load(Relaxed), longest.phases_us[3].load(Relaxed));
        assert!(all >= 20_000 && log >= 20_000 && log <= all, "{longest:?}");
        longest.reset();
        assert_eq!((longest.us.load(Relaxed), longest.phases_us[3].load(Relaxed)), (0, 0));
    }

    #[test]
    fn time_off_the_processor_is_told_apart() {
        let (mut time, longest) = (TickTime::new(), LongestTick::default());
        let sleep = Duration::from_millis(20);
        // The first is long enough for its end to be read, and has no beginning to compare it with.
        tick(&mut time, &longest, 2, sleep);
        assert_eq!(longest.us.load(Relaxed), longest.us_on_cpu.load(Relaxed));
        longest.reset();
        tick(&mut time, &longest, 2, sleep);
        let (all, on_cpu) = (longest.us.load(Relaxed), longest.us_on_cpu.load(Relaxed));
        assert!(all >= 20_000 && all - on_cpu >= 15_000, "{longest:?}");
    }
}
