//! How a run goes: lines on standard error, and a bar where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Says on standard error what is being done; it stays, unlike the bar.
pub fn say(text: &str) {
    // Whoever read it may be gone; a panic for that would leave servers running.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A bar on a terminal; nothing elsewhere.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    last_operations: u64,
    last_ns: u64,
}

impl Progress {
    /// A bar over `total` units (milliseconds or operations) with a title.
    pub fn new(title: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("{prefix} {bar:30} {percent:>3} %  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(title.to_owned());
            bar
        });
        Self { bar, last_operations: 0, last_ns: 0 }
    }

    /// How far it is, with the rate since the last call.
    pub fn update(&mut self, position: u64, operations: u64, now_ns: u64) {
        let Some(bar) = &self.bar else { return };
        let elapsed = Duration::from_nanos(now_ns.saturating_sub(self.last_ns)).as_secs_f64();
        if elapsed > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let rate = (operations - self.last_operations) as f64 / elapsed;
            bar.set_message(format!("{} /s", crate::report::grouped(rate)));
        }
        bar.set_position(position);
        (self.last_operations, self.last_ns) = (operations, now_ns);
    }

    /// Takes the line away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
