//! What a request does, by name.

use std::fmt;
use std::str::FromStr;

/// Most rows of one request.
const ROWS_MAX: usize = 100_000;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// One event a request.
    Events,
    /// So many events a request, each a command of its own, sent together.
    Pipelined(usize),
    /// So many events a request.
    Madd(usize),
    /// Two features of one entity.
    Reads,
    /// Two features of so many entities.
    Mget(usize),
    /// Reads in this share, events otherwise.
    Mixed(f64),
    /// Redis SET: a landmark.
    Set,
    /// So many SETs a request, sent together.
    PipelinedSet(usize),
    /// Redis GET: a landmark.
    Get,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let rows = || {
            let rows = number.and_then(|number| number.parse().ok());
            rows.filter(|rows| (1..=ROWS_MAX).contains(rows))
                .ok_or_else(|| format!("{text:?} needs a count of 1 to {ROWS_MAX}, such as {name}:64"))
        };
        match (name, number) {
            ("events", None) => Ok(Self::Events),
            ("reads", None) => Ok(Self::Reads),
            ("set", None) => Ok(Self::Set),
            ("get", None) => Ok(Self::Get),
            ("set", _) => Ok(Self::PipelinedSet(rows()?)),
            ("events", _) => Ok(Self::Pipelined(rows()?)),
            ("madd", _) => Ok(Self::Madd(rows()?)),
            ("mget", _) => Ok(Self::Mget(rows()?)),
            ("mixed", Some(share)) => match share.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => Ok(Self::Mixed(share)),
                _ => Err(format!("{text:?} needs a share of reads from 0 to 1, such as mixed:0.5")),
            },
            _ => Err(format!(
                "{text:?} is none of events, events:<n>, madd:<n>, reads, mget:<n>, mixed:<read share>, set, set:<n>, get"
            )),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events => f.write_str("events"),
            Self::Pipelined(rows) => write!(f, "events:{rows}"),
            Self::Madd(rows) => write!(f, "madd:{rows}"),
            Self::Reads => f.write_str("reads"),
            Self::Mget(rows) => write!(f, "mget:{rows}"),
            Self::Mixed(share) => write!(f, "mixed:{share}"),
            Self::Set => f.write_str("set"),
            Self::PipelinedSet(rows) => write!(f, "set:{rows}"),
            Self::Get => f.write_str("get"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_parse_and_print_alike() {
        for text in
            ["events", "events:64", "madd:64", "reads", "mget:1000", "mixed:0.5", "set", "set:64", "get"]
        {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        for bad in ["event", "events:0", "madd", "madd:0", "mget:x", "mixed", "mixed:1.5", "mget:1000000"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }
}
