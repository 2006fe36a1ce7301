//! How a run goes: lines on standard error, and a bar where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;
use std::time::Duration;

/// The bar is short and the rest is cut, so that it fits into a narrow terminal.
const STYLE: &str = "{percent:>3} % {bar:10} {wide_msg}";

/// Where there is no bar, a line so often.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// Says on standard error what is being done; it stays, unlike the bar.
pub fn say(text: &str) {
    // Whoever read it may be gone; a panic for that would leave servers running.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A bar on a terminal; elsewhere a line now and then.
#[derive(Debug)]
pub struct Progress {
    title: String,
    total: u64,
    /// None: there is no terminal, or one that cannot go back in a line.
    bar: Option<ProgressBar>,
    last_operations: u64,
    last_ns: u64,
}

impl Progress {
    /// Over `total` units (milliseconds or operations) with a title.
    pub fn new(title: &str, total: u64) -> Self {
        Self::drawn_on(ProgressDrawTarget::stderr(), title, total)
    }

    fn drawn_on(target: ProgressDrawTarget, title: &str, total: u64) -> Self {
        let bar = (!target.is_hidden()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), target);
            bar.set_style(
                ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Self { title: title.to_owned(), total, bar, last_operations: 0, last_ns: 0 }
    }

    /// How far it is, with the rate since the last that was shown.
    pub fn update(&mut self, position: u64, operations: u64, now_ns: u64) {
        if let Some(line) = self.shown(position, operations, now_ns) {
            say(&line);
        }
    }

    /// Draws the bar; without one, the line that is due, if one is.
    fn shown(&mut self, position: u64, operations: u64, now_ns: u64) -> Option<String> {
        let elapsed = Duration::from_nanos(now_ns.saturating_sub(self.last_ns));
        if elapsed.is_zero() || (self.bar.is_none() && elapsed < LINE_PERIOD) {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let rate = operations.saturating_sub(self.last_operations) as f64 / elapsed.as_secs_f64();
        (self.last_operations, self.last_ns) = (operations, now_ns);
        let text = format!("{} /s  {}", crate::report::grouped(rate), self.title);
        let Some(bar) = &self.bar else {
            let percent = position.saturating_mul(100) / self.total.max(1);
            return Some(format!("{percent:>3} % {text}"));
        };
        bar.set_message(text);
        bar.set_position(position);
        None
    }

    /// Takes the line away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;
    use std::sync::{Arc, Mutex};

    const SECOND_NS: u64 = 1_000_000_000;

    /// A terminal that keeps what is written on it.
    #[derive(Clone, Debug, Default)]
    struct Paper {
        columns: u16,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            self.columns
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.written.lock().unwrap().push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_shows_how_far_it_is_and_at_which_rate_and_fits_into_a_narrow_terminal() {
        for columns in [24, 40, 80, 200] {
            let paper = Paper { columns, ..Paper::default() };
            let target = ProgressDrawTarget::term_like_with_hz(Box::new(paper.clone()), 255);
            let mut progress = Progress::drawn_on(target, "events 127.0.0.1:7379", 60_000);
            assert_eq!(progress.shown(30_000, 5_000, SECOND_NS), None);
            progress.bar.as_ref().unwrap().force_draw();
            let written = paper.written.lock().unwrap();
            assert!(
                written.iter().any(|text| text.contains("50 % ") && text.contains("5,000")),
                "{written:?}"
            );
            for text in written.iter() {
                assert!(text.trim_end().chars().count() <= usize::from(columns), "{columns}: {text:?}");
            }
        }
    }

    #[test]
    fn without_a_terminal_there_is_a_line_now_and_then() {
        let mut progress = Progress::drawn_on(ProgressDrawTarget::hidden(), "events", 20_000);
        let mut lines = Vec::new();
        for second in 1..=12 {
            lines.extend(progress.shown(second * 1_000, second * 2_000, second * SECOND_NS));
        }
        assert_eq!(lines, [" 25 % 2,000 /s  events", " 50 % 2,000 /s  events"]);
    }
}
