//! Which commands of a shard are timed on their own, and from when on one took too long.

use std::time::Duration;

use quanta::Instant;
use windrow_protocol::command::CommandId;

use super::histogram::{CommandTimes, row_of};
use crate::config::Config;

/// Items of a staged batch between two looks at the clock.
pub(crate) const STRETCH_ITEMS: usize = 16;
/// A command over so many rows is executed and timed on its own: it is a batch.
pub(crate) const ALONE_ROWS: usize = 256;
/// With a lower threshold than this, every command is executed and timed on its own.
const ALONE_BELOW: Duration = Duration::from_millis(1);
/// After a stretch that took too long, commands are executed one by one for this time, so that the next of its kind is named.
const ALONE_AFTER_SLOW: Duration = Duration::from_secs(1);

/// The data commands, which are executed in batches.
const STAGED: [CommandId; 8] = [
    CommandId::EventAdd,
    CommandId::EventMadd,
    CommandId::WindowGet,
    CommandId::WindowMget,
    CommandId::WindowJoin,
    CommandId::WindowRange,
    CommandId::EntityDel,
    CommandId::EntityInfo,
];

/// The timer of one shard.
#[derive(Debug)]
pub(crate) struct CommandTimer {
    /// A command that took so long is for SLOWLOG; `u64::MAX`: none is.
    slowlog_ns: u64,
    /// A command or a tick that took so long is for LATENCY; `u64::MAX`: none is.
    latency_ns: u64,
    /// The threshold asks for every command on its own.
    is_threshold_low: bool,
    alone_until: Option<Instant>,
    is_each_alone: bool,
    /// The command that was put into the batch to be timed on its own.
    last_staged: Option<CommandId>,
    /// By command: those that were issued since the last batch was timed.
    issued: [Issued; CommandId::COUNT],
}

/// Calls of a command, and their rows.
#[derive(Clone, Copy, Debug, Default)]
struct Issued {
    calls: u64,
    rows: u64,
}

impl CommandTimer {
    pub(crate) fn new(config: &Config) -> Self {
        let mut timer = CommandTimer {
            slowlog_ns: u64::MAX,
            latency_ns: u64::MAX,
            is_threshold_low: false,
            alone_until: None,
            is_each_alone: false,
            last_staged: None,
            issued: [Issued::default(); CommandId::COUNT],
        };
        timer.configure(config);
        timer
    }

    /// Takes the thresholds over.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.slowlog_ns = u64::try_from(config.slowlog_slower_than_us).map_or(u64::MAX, |us| us * 1_000);
        self.latency_ns = match config.latency_threshold_ms {
            0 => u64::MAX,
            ms => ms * 1_000_000,
        };
        self.is_threshold_low = self.slowlog_ns < nanos(ALONE_BELOW);
        self.is_each_alone = self.is_threshold_low || self.alone_until.is_some();
    }

    /// A tick begins.
    #[inline]
    pub(crate) fn begin_tick(&mut self, now: Instant) {
        if self.alone_until.is_some_and(|until| now >= until) {
            self.alone_until = None;
            self.is_each_alone = self.is_threshold_low;
        }
    }

    /// Whether each command is executed and timed on its own at present.
    #[inline]
    pub(crate) fn is_each_alone(&self) -> bool {
        self.is_each_alone
    }

    /// A group of commands took so long: if that was too long, each is timed on its own for a while.
    #[inline]
    pub(crate) fn note_group(&mut self, took: Duration, commands: usize) {
        if self.is_slow(took) && commands > 1 {
            self.time_each_for_a_while();
        }
    }

    #[cold]
    fn time_each_for_a_while(&mut self) {
        self.alone_until = Some(Instant::now() + ALONE_AFTER_SLOW);
        self.is_each_alone = true;
    }

    /// Whether SLOWLOG wants a command that took so long.
    pub(crate) fn is_for_slowlog(&self, took: Duration) -> bool {
        nanos(took) >= self.slowlog_ns
    }

    /// Whether LATENCY wants something that took so long.
    #[inline]
    pub(crate) fn is_for_latency(&self, took: Duration) -> bool {
        nanos(took) >= self.latency_ns
    }

    /// Whether SLOWLOG or LATENCY wants a command that took so long.
    #[inline]
    pub(crate) fn is_slow(&self, took: Duration) -> bool {
        nanos(took) >= self.slowlog_ns.min(self.latency_ns)
    }

    /// Whether there is anything for which a command's arguments would be needed later.
    pub(crate) fn keeps_arguments(&self) -> bool {
        self.slowlog_ns != u64::MAX
    }

    /// A data command with one reply was put into the batch or sent to another shard.
    #[inline]
    pub(crate) fn staged(&mut self, command: CommandId) {
        if self.is_each_alone {
            self.last_staged = Some(command);
        } else {
            self.issued(command, 1);
        }
    }

    /// A command over rows has issued its last row, and was not timed on its own.
    #[inline]
    pub(crate) fn issued(&mut self, command: CommandId, rows: usize) {
        let issued = &mut self.issued[command as usize];
        issued.calls += 1;
        issued.rows += rows as u64;
    }

    /// The command that is to be timed on its own, if one was put into the batch.
    pub(crate) fn take_staged(&mut self) -> Option<CommandId> {
        self.last_staged.take()
    }

    /// A batch took `row_ns` for each row on average: so did the commands that were issued since the last one.
    pub(crate) fn settle(&mut self, times: &CommandTimes, row_ns: u64) {
        for command in STAGED {
            let Issued { calls, rows } = std::mem::take(&mut self.issued[command as usize]);
            if let Some(ns) = (row_ns * rows).checked_div(calls) {
                times.add(row_of(command, None), ns, calls);
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A staged batch, timed in stretches of [`STRETCH_ITEMS`].
#[derive(Debug)]
pub(crate) struct Stretches {
    began: Instant,
    last: Instant,
    /// The stretch being executed begins with this item.
    from: usize,
    slowest: Stretch,
}

/// Some items that were executed one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) took: Duration,
}

impl Stretches {
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Stretches { began: now, last: now, from: 0, slowest: Stretch::default() }
    }

    /// The items in front of `to` are done.
    #[inline]
    pub(crate) fn pass(&mut self, to: usize) {
        self.pass_at(to, Instant::now());
    }

    fn pass_at(&mut self, to: usize, now: Instant) {
        let took = now.duration_since(self.last);
        if took > self.slowest.took {
            self.slowest = Stretch { from: self.from, to, took };
        }
        (self.last, self.from) = (now, to);
    }

    /// What all of it took up to the last [`Stretches::pass`], and the slowest stretch.
    pub(crate) fn end(self) -> (Duration, Stretch) {
        (self.last.duration_since(self.began), self.slowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::histogram::BUCKETS;

    fn timer(slowlog_slower_than_us: i64, latency_threshold_ms: u64) -> CommandTimer {
        CommandTimer::new(&Config { slowlog_slower_than_us, latency_threshold_ms, ..Config::default() })
    }

    #[test]
    fn what_is_slow_is_what_either_threshold_says() {
        let is_slow = |slowlog, latency, took| {
            let timer = timer(slowlog, latency);
            (timer.is_for_slowlog(took), timer.is_for_latency(took), timer.is_slow(took))
        };
        let ms = Duration::from_millis;
        assert_eq!(is_slow(10_000, 0, ms(9)), (false, false, false));
        assert_eq!(is_slow(10_000, 0, ms(10)), (true, false, true));
        assert_eq!(is_slow(10_000, 5, ms(5)), (false, true, true));
        assert_eq!(is_slow(-1, 0, Duration::MAX), (true, true, true), "nothing takes that long");
        assert_eq!(is_slow(-1, 0, ms(1 << 40)), (false, false, false));
        assert_eq!(is_slow(0, 0, Duration::ZERO), (true, false, true));
    }

    #[test]
    fn commands_are_timed_one_by_one_under_a_low_threshold_and_for_a_while_after_a_slow_stretch() {
        assert!(timer(0, 0).is_each_alone() && timer(999, 0).is_each_alone());
        let mut timer = timer(1_000, 1);
        assert!(!timer.is_each_alone());
        timer.note_group(Duration::from_millis(1), 1);
        timer.note_group(Duration::from_micros(999), 9);
        assert!(!timer.is_each_alone());
        timer.note_group(Duration::from_millis(1), 2);
        timer.begin_tick(Instant::now());
        assert!(timer.is_each_alone());
        timer.begin_tick(Instant::now() + ALONE_AFTER_SLOW);
        assert!(!timer.is_each_alone());
    }

    #[test]
    fn a_batch_gives_each_call_the_mean_of_its_rows() {
        let (mut timer, times) = (timer(-1, 0), CommandTimes::default());
        for _ in 0..3 {
            timer.staged(CommandId::EventAdd);
        }
        timer.issued(CommandId::WindowMget, 10);
        timer.settle(&times, 1_000);
        timer.settle(&times, 1_000_000);
        let counts = |command| {
            let mut counts = [0; BUCKETS];
            times.sum_into(row_of(command, None), &mut counts);
            counts
        };
        assert_eq!(counts(CommandId::EventAdd)[0], 3);
        assert_eq!(counts(CommandId::WindowMget)[4], 1, "10 µs are in the bucket up to 16");
        assert_eq!(counts(CommandId::EventAdd).iter().sum::<u64>(), 3, "each call counts once");
    }

    #[test]
    fn the_slowest_stretch_is_found() {
        let mut stretches = Stretches::begin();
        let began = stretches.began;
        for (to, at_us) in [(16, 5), (32, 90), (40, 100)] {
            stretches.pass_at(to, began + Duration::from_micros(at_us));
        }
        let (all, slowest) = stretches.end();
        assert_eq!(all, Duration::from_micros(100));
        assert_eq!(slowest, Stretch { from: 16, to: 32, took: Duration::from_micros(85) });
    }
}
