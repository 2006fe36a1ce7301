//! Durations: an integer and a unit, `250ms 15s 5m 1h 7d`, in milliseconds.

/// Milliseconds in a second, minute, hour, day.
pub const SECOND_MS: i64 = 1_000;
/// Milliseconds in a minute.
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Milliseconds in a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The longest duration that is accepted: the range of timestamps (±8.64·10¹⁵ ms).
pub const DURATION_MS_MAX: i64 = crate::timestamp::TIMESTAMP_ABS_MAX;

/// Parses a duration to milliseconds; `None` when it is not one or is longer than [`DURATION_MS_MAX`].
pub fn parse(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 16 {
        return None;
    }
    let unit_ms = match &text[digits..] {
        unit if unit.eq_ignore_ascii_case(b"ms") => 1,
        unit if unit.eq_ignore_ascii_case(b"s") => SECOND_MS,
        unit if unit.eq_ignore_ascii_case(b"m") => MINUTE_MS,
        unit if unit.eq_ignore_ascii_case(b"h") => HOUR_MS,
        unit if unit.eq_ignore_ascii_case(b"d") => DAY_MS,
        _ => return None,
    };
    let number = text[..digits].iter().fold(0i64, |number, digit| number * 10 + i64::from(digit - b'0'));
    number.checked_mul(unit_ms).filter(|&ms| ms <= DURATION_MS_MAX)
}

/// Writes a duration with the largest unit that divides it: 3,600,000 is `1h`.
pub fn format(duration_ms: i64) -> String {
    for (unit_ms, unit) in [(DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s")] {
        if duration_ms != 0 && duration_ms % unit_ms == 0 {
            return format!("{}{unit}", duration_ms / unit_ms);
        }
    }
    format!("{duration_ms}ms")
}

#[cfg(test)]
mod tests {
    use super::{DURATION_MS_MAX, format, parse};

    #[test]
    fn durations_are_an_integer_and_a_unit() {
        for (text, ms) in [
            ("250ms", 250),
            ("15s", 15_000),
            ("5M", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(ms), "{text}");
        }
        for text in ["", "5", "m", "-5m", "5 m", "5min", "1.5h", "99999999999999999s", "100000001d", "+5m"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"8640000000000000ms"), Some(DURATION_MS_MAX));
        assert_eq!(parse(b"8640000000000001ms"), None);
    }

    #[test]
    fn a_duration_is_written_with_its_largest_unit() {
        for text in ["250ms", "15s", "5m", "90m", "1h", "7d", "0ms"] {
            assert_eq!(format(parse(text.as_bytes()).unwrap()), text);
        }
        assert_eq!(format(parse(b"60m").unwrap()), "1h");
    }
}
