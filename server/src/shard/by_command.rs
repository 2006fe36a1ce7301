//! What a slow batch took, told apart by command, as far as its stretches tell.
//!
//! A stretch of one command's items is that command's time. One that several commands share is, where it is slow, taken for the time of the
//! command that asks for most, which then says how many others it may have been; where it is not, each item has its mean.

use std::collections::HashMap;
use std::time::Duration;

use crate::connection::ReplyTo;
use crate::timing::Stretch;

/// An item that was executed for a command: a row, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Which command of the batch it is.
    pub(super) command: usize,
    /// How many values it asks for.
    pub(super) asked: usize,
}

/// What one command took in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) command: usize,
    pub(super) took: Duration,
    /// The item of it that asks for most.
    pub(super) item: usize,
    /// Its items in this batch.
    pub(super) rows: usize,
    /// Commands that may have taken part of the time.
    pub(super) others: usize,
}

/// Numbers the commands of a batch, items of which come in order.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    count: usize,
    /// By connection the last command, and where its rows reply; `None`: it has none.
    last: HashMap<u64, (usize, Option<ReplyTo>)>,
}

impl Numbering {
    /// The command of a connection's next item.
    pub(super) fn next(&mut self, connection: u64, reply_to: ReplyTo, is_row: bool) -> usize {
        let rows_of = match reply_to {
            ReplyTo::Row { slot, .. } => Some(ReplyTo::Slot(slot)),
            ReplyTo::Output if is_row => Some(ReplyTo::Output),
            // Where nothing is replied, nothing tells one command's rows from the next one's.
            _ => None,
        };
        match self.last.get(&connection) {
            Some(&(command, last)) if rows_of.is_some() && last == rows_of => command,
            _ => {
                self.count += 1;
                self.last.insert(connection, (self.count - 1, rows_of));
                self.count - 1
            }
        }
    }
}

/// What each command of a batch took that was slow. `parts`: for each item; `None`: nothing was executed for it.
pub(super) fn slow_shares(
    stretches: &[Stretch],
    parts: &[Option<Part>],
    is_slow: impl Fn(Duration) -> bool,
) -> Vec<Share> {
    let commands = parts.iter().flatten().map(|part| part.command + 1).max().unwrap_or(0);
    let none = |command| Share { command, took: Duration::ZERO, item: 0, rows: 0, others: 0 };
    let mut shares: Vec<Share> = (0..commands).map(none).collect();
    let asked = |item: usize| parts[item].map_or(0, |part| part.asked);
    for (item, part) in parts.iter().enumerate() {
        let Some(part) = part else { continue };
        let share = &mut shares[part.command];
        if share.rows == 0 || part.asked > asked(share.item) {
            share.item = item;
        }
        share.rows += 1;
    }
    for stretch in stretches {
        let items = &parts[stretch.from..stretch.to];
        let mut commands: Vec<usize> = items.iter().flatten().map(|part| part.command).collect();
        let executed = commands.len();
        commands.sort_unstable();
        commands.dedup();
        if commands.len() > 1 && is_slow(stretch.took) {
            let most =
                items.iter().flatten().max_by_key(|part| part.asked).expect("it has items of commands");
            let share = &mut shares[most.command];
            share.took += stretch.took;
            share.others += commands.len() - 1;
        } else {
            for part in items.iter().flatten() {
                shares[part.command].took += stretch.took / executed as u32;
            }
        }
    }
    shares.retain(|share| is_slow(share.took));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Stretches of some items each, with what they took; and each item's command and what it asks.
    fn shares(stretches: &[(usize, u64)], items: &[Option<(usize, usize)>]) -> Vec<Share> {
        let mut from = 0;
        let stretches = stretches.iter().map(|&(count, took)| {
            from += count;
            Stretch { from: from - count, to: from, took: ms(took) }
        });
        let parts = items.iter().map(|item| item.map(|(command, asked)| Part { command, asked }));
        slow_shares(&stretches.collect::<Vec<_>>(), &parts.collect::<Vec<_>>(), |took| took >= SLOW)
    }

    #[test]
    fn a_stretch_of_one_command_is_its_time_and_no_other_command_is_counted_in() {
        let share = |item, took, rows, others| Share { command: 0, took: ms(took), item, rows, others };
        assert_eq!(
            shares(&[(4, 12)], &[Some((0, 1)), Some((0, 3)), None, Some((0, 2))]),
            [share(1, 12, 3, 0)]
        );
        assert_eq!(shares(&[(2, 12)], &[None, Some((0, 1))]), [share(1, 12, 1, 0)], "an error is no command");
        assert_eq!(shares(&[(2, 12)], &[None, None]), []);
    }

    #[test]
    fn a_slow_stretch_of_several_commands_is_one_entry_that_says_of_how_many() {
        let items = [Some((0, 1)), Some((1, 9)), Some((2, 1)), Some((2, 1)), Some((3, 1))];
        assert_eq!(
            shares(&[(5, 30)], &items),
            [Share { command: 1, took: ms(30), item: 1, rows: 1, others: 3 }]
        );
    }

    #[test]
    fn a_command_whose_rows_lie_in_several_stretches_is_slow_by_all_of_them() {
        let rows = [Some((0, 5)); 6];
        assert_eq!(
            shares(&[(2, 4), (2, 4), (2, 4)], &rows),
            [Share { command: 0, took: ms(12), item: 0, rows: 6, others: 0 }]
        );
        // Of a stretch that it shares, and that is not slow, it has the mean.
        let items = [Some((0, 5)), Some((0, 5)), Some((0, 5)), Some((1, 5))];
        assert_eq!(
            shares(&[(2, 8), (2, 4)], &items),
            [Share { command: 0, took: ms(10), item: 0, rows: 3, others: 0 }]
        );
        assert_eq!(shares(&[(2, 8), (2, 3)], &items), [], "9.5 ms");
    }

    #[test]
    fn items_that_were_timed_one_by_one_are_each_their_commands_alone() {
        let items = [Some((0, 1)), Some((1, 9)), Some((0, 1))];
        assert_eq!(
            shares(&[(1, 6), (1, 9), (1, 6)], &items),
            [Share { command: 0, took: ms(12), item: 0, rows: 2, others: 0 }]
        );
    }

    #[test]
    fn rows_of_one_reply_are_one_command_and_all_else_is_a_command_each() {
        let mut numbers = Numbering::default();
        let row = |slot, row| ReplyTo::Row { slot, row };
        assert_eq!(numbers.next(1, ReplyTo::Output, false), 0);
        assert_eq!(numbers.next(1, ReplyTo::Output, false), 1);
        assert_eq!(numbers.next(1, row(7, 0), true), 2);
        assert_eq!(numbers.next(2, row(7, 0), true), 3, "of another connection");
        assert_eq!(numbers.next(1, row(7, 1), true), 2);
        assert_eq!(numbers.next(1, row(8, 0), true), 4);
        // On one shard, rows follow the header of their array in the output.
        assert_eq!(numbers.next(3, ReplyTo::Output, true), 5);
        assert_eq!(numbers.next(3, ReplyTo::Output, true), 5);
        assert_eq!(numbers.next(3, ReplyTo::Output, false), 6);
        assert_eq!(numbers.next(3, ReplyTo::Output, true), 7);
        // Under CLIENT REPLY OFF, the next row may be another command's.
        assert_eq!(numbers.next(4, ReplyTo::Nowhere, true), 8);
        assert_eq!(numbers.next(4, ReplyTo::Nowhere, true), 9);
    }
}
