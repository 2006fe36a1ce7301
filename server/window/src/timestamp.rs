//! Event time: integers, Unix milliseconds, negative ones included; and the bucket arithmetic over it.

/// The largest absolute value of a timestamp: 10⁸ days, the range of ECMAScript's time values (ECMA-262, "Time Values and Time Range").
pub const TIMESTAMP_ABS_MAX: i64 = 8_640_000_000_000_000;

/// Parses a timestamp; `None` when it is no integer or is out of range.
pub fn parse(text: &[u8]) -> Option<i64> {
    parse_int(text).filter(|ts| (-TIMESTAMP_ABS_MAX..=TIMESTAMP_ABS_MAX).contains(ts))
}

/// Parses an integer: optional `-`, digits, within i64.
pub fn parse_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Counted downwards, since i64 reaches one further below zero than above it.
        number = number.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some(number) } else { number.checked_neg() }
}

/// The largest multiple of `width_ms` that is not above `ts`.
#[inline]
pub fn floor_to(ts: i64, width_ms: i64) -> i64 {
    bucket_of(ts, width_ms) * width_ms
}

/// The index of the bucket `[k·w, (k+1)·w)` that holds `ts`: floor division, also below zero.
#[inline]
pub fn bucket_of(ts: i64, width_ms: i64) -> i64 {
    debug_assert!(width_ms > 0);
    ts.div_euclid(width_ms)
}

/// The index of the first bucket that starts at or after `ts`.
#[inline]
pub fn bucket_ceil(ts: i64, width_ms: i64) -> i64 {
    -bucket_of(-ts, width_ms)
}

#[cfg(test)]
mod tests {
    use super::{bucket_ceil, bucket_of, floor_to, parse, parse_int};

    #[test]
    fn buckets_are_half_open_below_zero_too() {
        assert_eq!([-11, -10, -1, 0, 9, 10].map(|ts| bucket_of(ts, 10)), [-2, -1, -1, 0, 0, 1]);
        assert_eq!([-11, -10, -1, 0, 9, 10].map(|ts| bucket_ceil(ts, 10)), [-1, -1, 0, 0, 1, 1]);
        assert_eq!(floor_to(-1, 60_000), -60_000);
    }

    #[test]
    fn timestamps_are_integers_within_the_range() {
        assert_eq!(parse(b"8640000000000000"), Some(8_640_000_000_000_000));
        assert_eq!(parse(b"-8640000000000000"), Some(-8_640_000_000_000_000));
        for bad in ["8640000000000001", "-8640000000000001", "", "-", "1.0", "1e3", " 1", "+1", "0x1"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn integers_span_all_of_i64() {
        assert_eq!(parse_int(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_int(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_int(b"9223372036854775808"), None);
        assert_eq!(parse_int(b"-9223372036854775809"), None);
        assert_eq!(parse_int(b"-0"), Some(0));
    }
}
