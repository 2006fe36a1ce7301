//! Byte sizes as Redis writes them in its configuration: `100mb`, `2gb`, `64k`, `1048576`.
//!
//! As in redis.conf, `k`/`m`/`g` are powers of 1000 and `kb`/`mb`/`gb` powers of 1024; case does not matter.

const UNITS: [(&str, u64); 7] = [
    ("kb", 1 << 10),
    ("mb", 1 << 20),
    ("gb", 1 << 30),
    ("k", 1_000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("b", 1),
];

/// Parses a size; the error says what a size looks like.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| lower.strip_suffix(unit).map(|digits| (digits, *factor)))
        .unwrap_or((lower.as_str(), 1));
    digits.trim().parse::<u64>().ok().and_then(|count| count.checked_mul(factor)).ok_or_else(|| {
        format!("'{text}' is not a size: a number of bytes, or one with kb, mb or gb behind it")
    })
}

/// The shortest exact text with a power-of-1024 unit: `67108864` is `64mb`.
pub(crate) fn format(bytes: u64) -> String {
    for (unit, factor) in [("gb", 1u64 << 30), ("mb", 1 << 20), ("kb", 1 << 10)] {
        if bytes != 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// A size for people (INFO): two decimals and the unit's letter, as Redis prints `used_memory_human`.
pub(crate) fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "K", "M", "G"] {
        if value < 1024.0 {
            return format!("{value:.2}{unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.2}T")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_mean_what_they_mean_in_redis_conf() {
        assert_eq!(parse("100mb"), Ok(100 << 20));
        assert_eq!(parse("2GB"), Ok(2 << 30));
        assert_eq!(parse("1k"), Ok(1000));
        assert_eq!(parse("1kb"), Ok(1024));
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("17b"), Ok(17));
    }

    #[test]
    fn a_text_that_is_no_size_is_refused_with_its_value() {
        for text in ["", "mb", "-1", "1.5gb", "ten", "99999999999gb"] {
            assert!(parse(text).unwrap_err().contains(&format!("'{text}'")), "{text}");
        }
    }

    #[test]
    fn formatted_sizes_parse_back() {
        for bytes in [0, 1, 1023, 1024, 1500, 64 << 20, 5 << 30, u64::MAX] {
            assert_eq!(parse(&format(bytes)), Ok(bytes));
        }
    }
}
