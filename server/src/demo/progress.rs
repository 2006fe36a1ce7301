//! How far the load is: a bar at a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::source::Position;

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) enum Progress {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    pub(super) fn start(title: &str) -> Progress {
        if !stderr().is_terminal() {
            eprintln!("{title} …");
            return Progress::Lines { last: Instant::now() };
        }
        let style = ProgressStyle::with_template("{prefix}\n{wide_bar} {percent:>3} %  {msg}  {eta:>4} left")
            .expect("the template names only what indicatif knows");
        Progress::Bar(ProgressBar::new(0).with_style(style).with_prefix(title.to_owned()))
    }

    pub(super) fn show(&mut self, position: Position, events: u64) {
        match self {
            Progress::Bar(bar) => {
                bar.set_length(position.total);
                bar.set_position(position.done);
                bar.set_message(format!("{events} events"));
            }
            Progress::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let percent = position.done * 100 / position.total.max(1);
                eprintln!("  {percent} %, {events} events");
            }
            Progress::Lines { .. } => {}
        }
    }

    pub(super) fn finish(&mut self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
