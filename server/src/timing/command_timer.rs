//! Which commands of a shard are timed on their own, and from when on one took too long.

use std::time::Duration;

use quanta::Instant;
use windrow_protocol::command::CommandId;

use super::histogram::{CommandTimes, row_of};
use crate::config::Config;

/// Items of a staged batch between two looks at the clock.
const STRETCH_ITEMS: usize = 16;
/// A command over so many rows is executed and timed on its own: it is a batch.
pub(crate) const ALONE_ROWS: usize = 256;
/// With a lower threshold than this, every command is executed and timed on its own.
const ALONE_BELOW: Duration = Duration::from_millis(1);
/// After a stretch that took too long, a stretch is one item for this time, so that the next slow one is named.
const EACH_AFTER_SLOW: Duration = Duration::from_millis(100);

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
    is_each_alone: bool,
    each_until: Option<Instant>,
    /// The command that was put into the batch to be timed on its own.
    last_staged: Option<CommandId>,
    /// By command: those that were issued since the last batch was timed.
    issued: [Issued; CommandId::COUNT],
    /// The list of the last batch's stretches, to be used again.
    spare: Vec<Stretch>,
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
            is_each_alone: false,
            each_until: None,
            last_staged: None,
            issued: [Issued::default(); CommandId::COUNT],
            spare: Vec::new(),
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
        self.is_each_alone = self.slowlog_ns < nanos(ALONE_BELOW);
    }

    /// A tick begins.
    #[inline]
    pub(crate) fn begin_tick(&mut self, now: Instant) {
        if self.each_until.is_some_and(|until| now >= until) {
            self.each_until = None;
        }
    }

    /// Whether each command is executed and timed on its own.
    #[inline]
    pub(crate) fn is_each_alone(&self) -> bool {
        self.is_each_alone
    }

    /// Whether each item of a batch is timed at present.
    #[inline]
    pub(crate) fn is_each_timed(&self) -> bool {
        self.is_each_alone || self.each_until.is_some()
    }

    /// A group of items took so long: if that was too long, each is timed for a while.
    #[inline]
    pub(crate) fn note_group(&mut self, took: Duration, items: usize) {
        if self.is_slow(took) && items > 1 {
            self.each_until = Some(Instant::now() + EACH_AFTER_SLOW);
        }
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

    /// Takes the list of a batch's stretches back.
    #[inline]
    pub(crate) fn recycle(&mut self, mut stretches: Vec<Stretch>) {
        stretches.clear();
        self.spare = stretches;
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

/// A staged batch, timed in stretches.
#[derive(Debug)]
pub(crate) struct Stretches {
    items: usize,
    began: Instant,
    last: Instant,
    /// The stretch being executed.
    from: usize,
    to: usize,
    done: Vec<Stretch>,
}

/// Some items that were executed one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) took: Duration,
}

impl Stretches {
    /// Begins to time a batch.
    pub(crate) fn begin(timer: &mut CommandTimer) -> Self {
        let now = Instant::now();
        let items = if timer.is_each_timed() { 1 } else { STRETCH_ITEMS };
        Stretches { items, began: now, last: now, from: 0, to: items, done: std::mem::take(&mut timer.spare) }
    }

    /// Whether a stretch ends in front of this item.
    #[inline]
    pub(crate) fn end_before(&self, item: usize) -> bool {
        item == self.to
    }

    /// The items in front of `to` are done.
    #[inline]
    pub(crate) fn pass(&mut self, to: usize) {
        self.pass_at(to, Instant::now());
    }

    fn pass_at(&mut self, to: usize, now: Instant) {
        self.done.push(Stretch { from: self.from, to, took: now.duration_since(self.last) });
        (self.last, self.from, self.to) = (now, to, to + self.items);
    }

    /// What all of it took up to the last [`Stretches::pass`], and its stretches, for [`CommandTimer::recycle`].
    pub(crate) fn end(self) -> (Duration, Vec<Stretch>) {
        (self.last.duration_since(self.began), self.done)
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
    fn a_low_threshold_has_each_command_executed_alone() {
        assert!(timer(0, 0).is_each_alone() && timer(999, 0).is_each_alone());
        assert!(!timer(1_000, 1).is_each_alone() && !timer(-1, 0).is_each_alone());
    }

    #[test]
    fn each_item_is_timed_for_a_while_after_a_slow_stretch_of_several() {
        let mut timer = timer(1_000, 1);
        timer.note_group(Duration::from_millis(1), 1);
        timer.note_group(Duration::from_micros(999), 9);
        assert!(!timer.is_each_timed());
        timer.note_group(Duration::from_millis(1), 2);
        timer.begin_tick(Instant::now());
        assert!(timer.is_each_timed() && !timer.is_each_alone());
        assert_eq!(Stretches::begin(&mut timer).to, 1);
        timer.begin_tick(Instant::now() + EACH_AFTER_SLOW);
        assert!(!timer.is_each_timed());
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
    fn a_batch_knows_what_each_of_its_stretches_took() {
        let mut timer = timer(50_000, 0);
        let mut stretches = Stretches::begin(&mut timer);
        let began = stretches.began;
        for (to, at_ms) in [(16, 5), (32, 90), (48, 100), (50, 150)] {
            assert!(to == 50 || stretches.end_before(to));
            stretches.pass_at(to, began + Duration::from_millis(at_ms));
        }
        let (all, stretches) = stretches.end();
        assert_eq!(all, Duration::from_millis(150));
        let stretch = |from, to, ms| Stretch { from, to, took: Duration::from_millis(ms) };
        assert_eq!(
            stretches,
            [stretch(0, 16, 5), stretch(16, 32, 85), stretch(32, 48, 10), stretch(48, 50, 50)]
        );
        timer.recycle(stretches);
        assert!(Stretches::begin(&mut timer).done.is_empty());
    }
}
