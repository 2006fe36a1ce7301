//! Floating-point numbers as text.

/// Appends `value` as the shortest decimal text that reads back to the same f64: `1`, `0.1`, `1e300`, `-2.5e-7`, `inf`,
/// `-inf`, `nan`. A whole number has no `.0`; −0 is written as `0`. Shortest digits by Ryū (Adams, PLDI 2018).
pub fn format_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(F64Text::new().format(value).as_bytes());
}

/// Room for the text of one number.
pub(super) struct F64Text {
    shortest: ryu::Buffer,
    whole: itoa::Buffer,
}

impl F64Text {
    pub(super) fn new() -> Self {
        Self { shortest: ryu::Buffer::new(), whole: itoa::Buffer::new() }
    }

    pub(super) fn format(&mut self, value: f64) -> &str {
        // Whole numbers below this are exact in both types and written without an exponent.
        const WHOLE_MAX: f64 = 1e15;
        if value.abs() < WHOLE_MAX {
            let whole = value as i64;
            if whole as f64 == value {
                return self.whole.format(whole);
            }
        } else if value.is_nan() {
            return "nan";
        } else if value.is_infinite() {
            return if value > 0.0 { "inf" } else { "-inf" };
        }
        let text = self.shortest.format_finite(value);
        text.strip_suffix(".0").unwrap_or(text)
    }
}
