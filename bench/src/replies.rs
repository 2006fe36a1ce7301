//! Checks replies as they come: compared with the expected bytes where those are known, scanned otherwise.

use windrow_client::scan::{ReplyScanner, ScanError};

/// Bytes of a reply that are kept to show it.
const SHOWN_BYTES: usize = 200;

/// What the reply to one command must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The reply, where there is only one right one.
    exact: Vec<u8>,
    /// RESP types allowed; empty: any.
    kinds: &'static [u8],
    /// Members of a sorted set, whose amounts are parsed and summed as the application would.
    members: bool,
    /// Words that tell what became of an event are counted, and none of them is wrong.
    outcomes: u64,
}

/// What became of events, by the reply they got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Outcomes {
    /// Counted in the bucket of its time.
    pub ok: u64,
    /// Counted at the server's time.
    pub clamped: u64,
    /// Too far ahead.
    pub skewed: u64,
    /// Counted before.
    pub duplicate: u64,
    /// Too old.
    pub late: u64,
}

impl Outcomes {
    /// Events in all.
    pub fn total(&self) -> u64 {
        self.ok + self.clamped + self.skewed + self.duplicate + self.late
    }

    fn merge(&mut self, other: Self) {
        self.ok += other.ok;
        self.clamped += other.clamped;
        self.skewed += other.skewed;
        self.duplicate += other.duplicate;
        self.late += other.late;
    }

    /// The words of a reply; none: it holds something else.
    fn of(reply: &[u8]) -> Option<Self> {
        let mut outcomes = Self::default();
        for line in reply.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match line.strip_suffix(b"\r").unwrap_or(line) {
                b"+OK" => outcomes.ok += 1,
                b"+CLAMPED" => outcomes.clamped += 1,
                b"+SKEWED" => outcomes.skewed += 1,
                b"+DUPLICATE" => outcomes.duplicate += 1,
                b"+LATE" => outcomes.late += 1,
                header if header.starts_with(b"*") => {}
                _ => return None,
            }
        }
        Some(outcomes)
    }
}

impl Expect {
    /// `+OK`.
    pub fn ok() -> Self {
        Self { exact: b"+OK\r\n".to_vec(), kinds: b"", members: false, outcomes: 0 }
    }

    /// An array of that many `+OK`.
    pub fn ok_array(count: usize) -> Self {
        let exact = [format!("*{count}\r\n").into_bytes(), b"+OK\r\n".repeat(count)].concat();
        Self { exact, kinds: b"", members: false, outcomes: 0 }
    }

    /// What became of one event, whatever it is: `+OK`, `+LATE`, and so on.
    pub fn outcome() -> Self {
        Self { outcomes: 1, ..Self::ok() }
    }

    /// What became of that many events, whatever it is.
    pub fn outcomes(count: usize) -> Self {
        Self { outcomes: count as u64, ..Self::ok_array(count) }
    }

    /// What the null responder answers, which knows no arrays; what becomes of an event is counted still.
    #[must_use]
    pub fn of_null(&self) -> Self {
        if self.outcomes > 0 { Self::outcome() } else { Self::ok() }
    }

    /// The words for what became of events, where there is one for each of them.
    fn outcomes_in(&self, reply: &[u8]) -> Option<Outcomes> {
        let has_right_type = self.outcomes > 0 && reply.first() == self.exact.first();
        has_right_type.then(|| Outcomes::of(reply)).flatten().filter(|found| found.total() == self.outcomes)
    }

    /// Any reply of one of these RESP types.
    pub fn kind(kinds: &'static [u8]) -> Self {
        Self { exact: Vec::new(), kinds, members: false, outcomes: 0 }
    }

    /// Anything but an error.
    pub fn anything() -> Self {
        Self::kind(b"")
    }

    /// An array of `…:<amount>` members, to be summed.
    pub fn members() -> Self {
        Self { exact: Vec::new(), kinds: b"*", members: true, outcomes: 0 }
    }
}

/// What was found wrong, and a sample of what was right.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// Error replies, errors inside arrays, and replies other than expected.
    pub errors: u64,
    /// The first of them, as text.
    pub first_error: Option<String>,
    /// The first reply that was only scanned, as text: shows whether reads find anything.
    pub sample: Option<String>,
    /// Sum over the members read, so that summing them is not optimised away.
    pub members_sum: f64,
    /// What became of events, where that is counted.
    pub outcomes: Outcomes,
}

impl Verdicts {
    /// Adds those of another thread.
    pub fn merge(&mut self, other: Self) {
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.sample = self.sample.take().or(other.sample);
        self.members_sum += other.members_sum;
        self.outcomes.merge(other.outcomes);
    }

    fn wrong(&mut self, count: u64, text: impl FnOnce() -> String) {
        self.errors += count;
        self.first_error.get_or_insert_with(text);
    }
}

/// Takes the first reply of `buf`: its length, or `None` if it is not whole yet.
///
/// `scanner` belongs to the connection; `buf` starts where the reply starts.
///
/// # Errors
///
/// The bytes are no RESP.
#[inline]
pub fn take(
    buf: &[u8],
    expect: &Expect,
    scanner: &mut ReplyScanner,
    verdicts: &mut Verdicts,
) -> Result<Option<usize>, ScanError> {
    if !expect.exact.is_empty() {
        let exact = &expect.exact[..];
        let have = buf.len().min(exact.len());
        if buf[..have] == exact[..have] {
            let is_whole = have == exact.len();
            if is_whole {
                verdicts.outcomes.ok += expect.outcomes;
            }
            return Ok(is_whole.then_some(have));
        }
    }
    scan(buf, expect, scanner, verdicts)
}

fn scan(
    buf: &[u8],
    expect: &Expect,
    scanner: &mut ReplyScanner,
    verdicts: &mut Verdicts,
) -> Result<Option<usize>, ScanError> {
    let Some(found) = scanner.scan(buf)? else { return Ok(None) };
    let reply = &buf[..found.bytes];
    if let Some(at) = found.first_error_at {
        verdicts.wrong(u64::from(found.errors), || line(&reply[at..]));
    } else if let Some(outcomes) = expect.outcomes_in(reply) {
        verdicts.outcomes.merge(outcomes);
    } else if !expect.exact.is_empty() {
        verdicts.wrong(1, || {
            format!("expected {:?}, got {:?}", shown(&expect.exact), difference(reply, &expect.exact))
        });
    } else if !expect.kinds.is_empty() && !expect.kinds.contains(&found.kind) {
        verdicts.wrong(1, || format!("a reply of the wrong type: {:?}", shown(reply)));
    } else {
        if verdicts.sample.is_none() {
            verdicts.sample = Some(shown(reply));
        }
        if expect.members {
            verdicts.members_sum += sum_members(reply);
        }
    }
    Ok(Some(found.bytes))
}

/// Sums the numbers behind the colon of each member: what a reader of the sorted-set pattern has to do.
fn sum_members(reply: &[u8]) -> f64 {
    let mut sum = 0.0;
    for line in reply.split(|&byte| byte == b'\n') {
        let colon = line.iter().rposition(|&byte| byte == b':');
        if let Some(colon) = colon
            && let Ok(text) = std::str::from_utf8(&line[colon + 1..])
            && let Ok(amount) = text.trim_end().parse::<f64>()
        {
            sum += amount;
        }
    }
    sum
}

/// The first line of `bytes`, for people.
fn line(bytes: &[u8]) -> String {
    shown(bytes.split(|&byte| byte == b'\r').next().unwrap_or(bytes))
}

/// The reply from the line where it leaves what was expected.
fn difference(reply: &[u8], expected: &[u8]) -> String {
    let same = reply.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let start = reply[..same].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    shown(&reply[start..])
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds bytes in two parts cut everywhere; every cut must give the same verdicts and lengths.
    fn take_all(stream: &[u8], expects: &[Expect]) -> Verdicts {
        let mut outcome = None;
        for cut in 0..=stream.len() {
            let mut verdicts = Verdicts::default();
            let mut scanner = ReplyScanner::new();
            let (mut at, mut visible, mut next) = (0, cut, 0);
            while next < expects.len() {
                match take(&stream[at..visible], &expects[next], &mut scanner, &mut verdicts).unwrap() {
                    Some(bytes) => {
                        at += bytes;
                        next += 1;
                    }
                    None => {
                        assert!(visible < stream.len(), "cut at {cut}: reply {next} never became whole");
                        visible = stream.len();
                    }
                }
            }
            assert_eq!(at, stream.len(), "cut at {cut}");
            let found = (verdicts.errors, verdicts.first_error.clone(), verdicts.sample.clone());
            assert_eq!(*outcome.get_or_insert_with(|| found.clone()), found, "cut at {cut}");
            if cut == stream.len() {
                return verdicts;
            }
        }
        unreachable!("the last cut returns")
    }

    #[test]
    fn right_replies_are_no_errors_wherever_they_are_split() {
        let stream =
            b"+OK\r\n*2\r\n+OK\r\n+OK\r\n*2\r\n:60\r\n$5\r\n12.50\r\n%1\r\n+a\r\n*1\r\n,1.5\r\n:1\r\n";
        let expects =
            [Expect::ok(), Expect::ok_array(2), Expect::kind(b"*"), Expect::kind(b"%*"), Expect::anything()];
        let verdicts = take_all(stream, &expects);
        assert_eq!((verdicts.errors, verdicts.first_error), (0, None));
        assert_eq!(verdicts.sample.as_deref(), Some("*2\r\n:60\r\n$5\r\n12.50\r\n"));
    }

    #[test]
    fn error_replies_are_counted_and_the_first_is_shown() {
        let verdicts = take_all(
            b"+OK\r\n-OOM full\r\n-ERR other\r\n",
            &[Expect::ok(), Expect::ok(), Expect::anything()],
        );
        assert_eq!((verdicts.errors, verdicts.first_error.as_deref()), (2, Some("-OOM full")));
    }

    #[test]
    fn an_event_that_was_not_counted_is_an_error() {
        let verdicts = take_all(b"+LATE\r\n", &[Expect::ok()]);
        assert_eq!(verdicts.errors, 1);
        assert!(verdicts.first_error.unwrap().contains("LATE"));
        let verdicts = take_all(b"*3\r\n+OK\r\n+CLAMPED\r\n+OK\r\n", &[Expect::ok_array(3)]);
        assert_eq!(verdicts.errors, 1);
        assert!(verdicts.first_error.unwrap().contains("CLAMPED"));
    }

    #[test]
    fn each_failed_row_of_an_array_counts() {
        let verdicts = take_all(b"*3\r\n+OK\r\n-ERR bad value\r\n-ERR worse\r\n", &[Expect::ok_array(3)]);
        assert_eq!((verdicts.errors, verdicts.first_error.as_deref()), (2, Some("-ERR bad value")));
    }

    #[test]
    fn a_reply_of_the_wrong_type_is_an_error() {
        assert_eq!(take_all(b"+OK\r\n", &[Expect::kind(b"*")]).errors, 1);
    }

    #[test]
    fn members_are_summed() {
        let reply = b"*2\r\n$12\r\n1700-1:10.50\r\n$12\r\n1701-2:20.25\r\n";
        let mut verdicts = Verdicts::default();
        // Lengths that are too short would be no RESP; these are exact.
        let taken = take(reply, &Expect::members(), &mut ReplyScanner::new(), &mut verdicts).unwrap();
        assert_eq!(taken, Some(reply.len()));
        assert!((verdicts.members_sum - 30.75).abs() < 1e-9, "{}", verdicts.members_sum);
    }

    #[test]
    fn what_became_of_events_is_counted_and_only_errors_are_wrong() {
        let stream = b"+OK\r\n+LATE\r\n*3\r\n+OK\r\n+DUPLICATE\r\n+CLAMPED\r\n*2\r\n+OK\r\n+OK\r\n+SKEWED\r\n-OOM x\r\n:1\r\n";
        let one = Expect::outcome;
        let expects = [one(), one(), Expect::outcomes(3), Expect::outcomes(2), one(), one(), one()];
        let verdicts = take_all(stream, &expects);
        let expected = Outcomes { ok: 4, clamped: 1, skewed: 1, duplicate: 1, late: 1 };
        assert_eq!((verdicts.outcomes, verdicts.outcomes.total()), (expected, 8));
        assert_eq!((verdicts.errors, verdicts.first_error.as_deref()), (2, Some("-OOM x")));
    }

    #[test]
    fn outcomes_that_are_too_few_or_too_many_are_wrong() {
        for reply in [&b"*1\r\n+OK\r\n"[..], b"+OK\r\n", b"*3\r\n+OK\r\n+LATE\r\n+OK\r\n", b"*0\r\n"] {
            let verdicts = take_all(reply, &[Expect::outcomes(2)]);
            assert_eq!((verdicts.errors, verdicts.outcomes.total()), (1, 0), "{reply:?}");
        }
        assert_eq!(take_all(b"*1\r\n+OK\r\n", &[Expect::outcome()]).errors, 1);
        let null = [Expect::outcomes(2).of_null(), Expect::kind(b"*").of_null()];
        let verdicts = take_all(b"+OK\r\n+OK\r\n", &null);
        assert_eq!((verdicts.errors, verdicts.outcomes.total()), (0, 1));
    }
}
