//! Numbers as clients write them: usual spellings in few instructions, the others by the standard parser.

use windrow_window::timestamp::{self, TIMESTAMP_ABS_MAX};

/// Digits of two words of eight: no number of so many overflows 64 bits.
const SHORT_DIGITS_MAX: usize = 16;

/// Parses an event time: an integer within the range of timestamps.
#[inline]
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    parse_int(text).filter(|ts| (-TIMESTAMP_ABS_MAX..=TIMESTAMP_ABS_MAX).contains(ts))
}

/// Parses an INT: optional `-`, digits, within i64.
#[inline]
pub(crate) fn parse_int(text: &[u8]) -> Option<i64> {
    // A millisecond of our time has 13 digits.
    if text.len() > 8
        && text.len() <= SHORT_DIGITS_MAX
        && let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk())
    {
        let (first, last) = (digits(*first), digits(*last));
        if is_digits(first) & is_digits(last) {
            // What `last` holds too falls out at the end of `first`, zeros come in at its start.
            let high = eight_digits(first << (8 * (SHORT_DIGITS_MAX - text.len())));
            return Some((high * 100_000_000 + eight_digits(last)).cast_signed());
        }
    }
    parse_any_int(text)
}

/// Any spelling, a digit at a time.
#[inline(never)]
fn parse_any_int(text: &[u8]) -> Option<i64> {
    timestamp::parse_int(text)
}

/// Eight characters, the first one in the lowest byte; a digit becomes its value.
#[inline]
fn digits(text: [u8; 8]) -> u64 {
    u64::from_le_bytes(text) ^ 0x3030_3030_3030_3030
}

/// Whether every byte is below ten.
#[inline]
fn is_digits(bytes: u64) -> bool {
    // 0x76 lifts ten and more to the highest bit. A carry comes only out of a byte that has it already.
    (bytes.wrapping_add(0x7676_7676_7676_7676) | bytes) & 0x8080_8080_8080_8080 == 0
}

/// The number of eight digits, the first one in the lowest byte.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    // Pairs, then fours, then all: each step folds two neighbours into one.
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let first = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let second = (pairs >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    first.wrapping_add(second) >> 32
}

/// Powers of ten that an f64 holds exactly, as far as a short text needs them.
const POWERS: [f64; 18] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17];
/// Up to here f64 holds every integer.
const EXACT_MAX: u64 = 1 << 53;

/// Parses a FLOAT: decimal or exponent notation, finite; −0 becomes 0.
#[inline]
pub(crate) fn parse_float(text: &[u8]) -> Option<f64> {
    let (is_negative, unsigned) = match text {
        [b'-', unsigned @ ..] => (true, unsigned),
        unsigned => (false, unsigned),
    };
    if unsigned.len() > POWERS.len() {
        return parse_any_float(text);
    }
    let (number, fraction_digits) = match short_decimal(unsigned).or_else(|| decimal(unsigned)) {
        Some(decimal) => decimal,
        None => return parse_any_float(text),
    };
    // Both are exact, so their quotient is rounded once, which is what correct rounding asks (W. D. Clinger, "How to read floating
    // point numbers accurately", PLDI 1990).
    let value = number as f64 / POWERS[fraction_digits];
    Some(if is_negative { 0.0 - value } else { value })
}

/// Reads a decimal of four to eight characters as an integer and how many of its digits are behind the point.
#[inline]
fn short_decimal(text: &[u8]) -> Option<(u64, usize)> {
    const POINT: u64 = 0x0101_0101_0101_0101 * (b'.' ^ b'0') as u64;
    if text.len() > 8 {
        return None;
    }
    let (first, last) = (text.first_chunk()?, text.last_chunk()?);
    // The halves overlap; where they do, they are the same.
    let word = u64::from(u32::from_le_bytes(*first))
        | u64::from(u32::from_le_bytes(*last)) << (8 * (text.len() - 4));
    let aligned = digits(word.to_le_bytes()) << (8 * (8 - text.len()));
    let unlike = aligned ^ POINT;
    // The lowest bit set is that of the first byte that is a point.
    let points = unlike.wrapping_sub(0x0101_0101_0101_0101) & !unlike & 0x8080_8080_8080_8080;
    let (digits, fraction_digits) = if points == 0 {
        (aligned, 0)
    } else {
        let at = points.trailing_zeros() / 8;
        // What is before the point moves over it.
        let before = (1 << (8 * at)) - 1;
        let behind = !(before << 8 | 0xff);
        ((aligned & before) << 8 | aligned & behind, 7 - at as usize)
    };
    is_digits(digits).then(|| (eight_digits(digits), fraction_digits))
}

/// Reads a decimal of at most 18 characters likewise; `None` when f64 does not hold the integer.
fn decimal(text: &[u8]) -> Option<(u64, usize)> {
    let (mut number, mut has_digit, mut point) = (0u64, false, None);
    for (index, byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            number = number * 10 + u64::from(digit);
            has_digit = true;
        } else if *byte == b'.' && point.is_none() {
            point = Some(index);
        } else {
            return None;
        }
    }
    let fraction_digits = point.map_or(0, |point| text.len() - 1 - point);
    (has_digit && number <= EXACT_MAX).then_some((number, fraction_digits))
}

/// Any spelling, by the standard parser.
#[cold]
fn parse_any_float(text: &[u8]) -> Option<f64> {
    // Rust's parser also takes "inf", "nan" and a leading "+".
    const LENGTH_MAX: usize = 400;
    let allowed = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    if text.len() > LENGTH_MAX || text.first() == Some(&b'+') || !text.iter().all(allowed) {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // Adding 0 turns −0 into 0 and leaves all else.
    value.is_finite().then_some(value + 0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
    use windrow_window::timestamp;

    use super::{parse_any_float, parse_float, parse_int, parse_time};

    #[test]
    fn floats_are_decimal_or_exponent_and_finite() {
        for (text, value) in
            [("1", 1.0), ("-2.5", -2.5), ("1e3", 1000.0), ("1.5E-3", 0.0015), (".5", 0.5), ("5.", 5.0)]
        {
            assert_eq!(parse_float(text.as_bytes()), Some(value), "{text}");
        }
        for bad in [
            "", "-", ".", "-.", "e5", "nan", "NaN", "inf", "-inf", "infinity", "1e400", "-1e400", "1_0",
            " 1", "1 ", "0x1", "+1", "--1", "1.2.3", "1-", "1e", "1e+", "٣",
        ] {
            assert_eq!(parse_float(bad.as_bytes()), None, "{bad}");
        }
        for zero in ["-0", "-0.0", "-.0", "0", "-0.00000000000000", "-0e5", "-1e-400", "1e-400"] {
            assert_eq!(parse_float(zero.as_bytes()).map(f64::to_bits), Some(0), "{zero} becomes 0");
        }
    }

    #[test]
    fn floats_at_the_ends_of_exactness_are_as_the_standard_parser_reads_them() {
        for text in [
            "9007199254740992",
            "9007199254740993",
            "9007199254740991",
            "-9007199254740993.5",
            "900719925474.0993",
            "0.00000000000000001",
            "0.9007199254740993",
            "99999999999999999",
            "999999999999999999",
            "9999999999999999999",
            ".00000000000000009",
            "0.3",
            "123456789012345.67",
            "000000000000000001",
        ] {
            assert_eq!(parse_float(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    /// Text that is often a number and often nearly one.
    fn spelling() -> impl Strategy<Value = Vec<u8>> {
        let mark =
            prop::sample::select(b"0123456789012345678901234567890123456789..--+eE_ x/:\xb0\x80\0".to_vec());
        prop_oneof![
            3 => prop::collection::vec(mark.clone(), 0..24),
            3 => "-?[0-9]{0,18}\\.?[0-9]{0,18}".prop_map(String::into_bytes),
            1 => "-?[0-9]{1,20}(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?".prop_map(String::into_bytes),
            2 => ("-?[0-9]{0,19}", any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
                let mut text = text.into_bytes();
                if !text.is_empty() {
                    let at = at.index(text.len());
                    text[at] = byte;
                }
                text
            }),
            1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            1 => any::<f64>().prop_map(|number| number.to_string().into_bytes()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn every_spelling_is_read_as_the_plain_parsers_read_it(text in spelling()) {
            assert_eq!(parse_float(&text).map(f64::to_bits), parse_any_float(&text).map(f64::to_bits));
            assert_eq!(parse_int(&text), timestamp::parse_int(&text));
            assert_eq!(parse_time(&text), timestamp::parse(&text));
        }
    }
}
