//! The distribution of a number within 1 %: DDSketch (Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees", 2019).
//!
//! A value's *bin* is a range of values of which each is within 1 % of the bin's middle. Each octave has 35 bins: 2^e (1 + s)
//! goes to bin 35 e + ⌊6 s³ − 21 s² + 50 s⌋, a polynomial that comes close to 35 log₂(1 + s), with integers as coefficients. Its
//! slope over that of the natural logarithm is at least 50, so a bin's ends are at most e^(1/50) apart, and its middle
//! (2 lo hi / (lo + hi)) at most tanh(1/100) < 1 % from each value in it. There is no logarithm in it, so every machine finds the same bin.
//! All values of an f64 have a bin; an INT is taken as an f64.
//!
//! ```text
//! bins   key (upper 32 bits, offset by 2³¹ so that it is never 0) | count (u32, saturating), ascending; zeros behind them
//! key    0 for 0, the bin's number for a positive value, minus that of its negative for a negative one
//! ```
//!
//! There are at most [`BINS_MAX`] bins. One more makes the two lowest one, under the higher key: what is above keeps its 1 %.

use super::distinct::lower_bound;
use super::grown;
use super::span::{Span, SpanMut};
use crate::definition::FieldType;
use crate::error::Corrupt;
use crate::words::{Words, WordsMut};

/// The most bins of a bucket: positive values from 1 to 640 million have so many.
pub const BINS_MAX: usize = 1_024;
/// Bins from x to 2x.
const BINS_OCTAVE: i32 = 35;
/// The exponent of the smallest f64.
const EXPONENT_MIN: i32 = -1074;
const EXPONENT_MAX: i32 = 1023;
/// Makes the first bin's number 1.
const NUMBER_OFFSET: i32 = 1 - EXPONENT_MIN * BINS_OCTAVE;
/// The largest bin's number.
const KEY_MAX: i32 = EXPONENT_MAX * BINS_OCTAVE + BINS_OCTAVE - 1 + NUMBER_OFFSET;
const KEY_BIAS: u32 = 1 << 31;
/// How far beyond a new key a window of counts grows, so that it does not at each.
const WINDOW_STEP: usize = 64;
/// Middles of the bins from 1 to 2.
const MIDDLES: [f64; BINS_OCTAVE as usize] = middles();

/// The bin of a value.
#[inline]
pub(super) fn key_of(field: FieldType, word: u64) -> i32 {
    let number = if field == FieldType::Int { word.cast_signed() as f64 } else { f64::from_bits(word) };
    let magnitude = number.abs();
    if magnitude == 0.0 || number.is_nan() {
        return 0;
    }
    let (exponent, s) = split(magnitude.min(f64::MAX));
    let bin = polynomial(s) as i32;
    let number_of_bin = exponent * BINS_OCTAVE + bin.min(BINS_OCTAVE - 1) + NUMBER_OFFSET;
    if number < 0.0 { -number_of_bin } else { number_of_bin }
}

/// 35 bins over 0 to 1, as evenly as a logarithm would.
const fn polynomial(s: f64) -> f64 {
    s * (50.0 + s * (6.0 * s - 21.0))
}

/// A positive number as 2^e (1 + s).
#[inline]
fn split(mut number: f64) -> (i32, f64) {
    const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    const MANTISSA_MASK: u64 = (1 << MANTISSA_BITS) - 1;
    const SCALE_BITS: i32 = 64;
    let mut scaled = 0;
    if number < f64::MIN_POSITIVE {
        number *= 18_446_744_073_709_551_616.0;
        scaled = SCALE_BITS;
    }
    let bits = number.to_bits();
    let exponent = (bits >> MANTISSA_BITS) as i32 - 1023;
    (exponent - scaled, f64::from_bits(bits & MANTISSA_MASK | 1f64.to_bits()) - 1.0)
}

/// The value that stands for a bin.
pub(super) fn middle_of(key: i32) -> f64 {
    if key == 0 {
        return 0.0;
    }
    let number = key.abs().min(KEY_MAX) - NUMBER_OFFSET;
    let exponent = number.div_euclid(BINS_OCTAVE);
    let middle = MIDDLES[number.rem_euclid(BINS_OCTAVE) as usize];
    // In two steps, since 2^e of the smallest is no normal number.
    let half = exponent / 2;
    let power = |exponent: i32| f64::from_bits(((exponent + 1023) as u64) << 52);
    let magnitude = middle * power(half) * power(exponent - half);
    if key < 0 { -magnitude } else { magnitude }
}

const fn middles() -> [f64; BINS_OCTAVE as usize] {
    let mut middles = [0.0; BINS_OCTAVE as usize];
    let mut bin = 0;
    while bin < middles.len() {
        let low = 1.0 + start_of(bin as f64);
        let high = 1.0 + start_of((bin + 1) as f64);
        middles[bin] = 2.0 * low * high / (low + high);
        bin += 1;
    }
    middles
}

/// Where the polynomial, which rises, reaches `bin`: found by halving.
const fn start_of(bin: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    let mut step = 0;
    while step < 64 {
        let middle = (low + high) / 2.0;
        if polynomial(middle) < bin {
            low = middle;
        } else {
            high = middle;
        }
        step += 1;
    }
    high
}

fn word_of(key: i32, count: u64) -> u64 {
    u64::from(key.cast_unsigned() ^ KEY_BIAS) << 32 | count.min(u64::from(u32::MAX))
}

fn key_at(word: u64) -> i32 {
    (((word >> 32) as u32) ^ KEY_BIAS).cast_signed().clamp(-KEY_MAX, KEY_MAX)
}

fn count_at(word: u64) -> u64 {
    word & 0xffff_ffff
}

/// How many bins there are, where the key is or belongs, and whether it is there.
#[inline]
fn find<W: Words + ?Sized>(span: Span<'_, W>, key: i32) -> (usize, usize, bool) {
    let bins = lower_bound(span.len(), |at| span.get(at) != 0);
    let word = word_of(key, 0);
    let at = lower_bound(bins, |at| span.get(at) < word);
    (bins, at, at < bins && span.get(at) >> 32 == word >> 32)
}

pub(super) fn room<W: Words + ?Sized>(span: Span<'_, W>, key: i32) -> Option<usize> {
    let (bins, _, is_found) = find(span, key);
    (!is_found && bins == span.len() && bins < BINS_MAX).then(|| grown(bins + 1, BINS_MAX))
}

pub(super) fn add<W: WordsMut + ?Sized>(span: &mut SpanMut<'_, W>, key: i32) {
    let (bins, at, is_found) = find(span.span(), key);
    if is_found {
        span.set(at, word_of(key, count_at(span.get(at)) + 1));
        return;
    }
    if bins < span.len() {
        span.shift(at, at + 1, bins - at);
        span.set(at, word_of(key, 1));
        return;
    }
    // One too many: the two lowest become one.
    let lowest = span.get(0);
    match at {
        0 => span.set(0, lowest & !0xffff_ffff | word_of(key, count_at(lowest) + 1) & 0xffff_ffff),
        1 => span.set(0, word_of(key, count_at(lowest) + 1)),
        _ => {
            let next = span.get(1);
            span.set(1, word_of(key_at(next), count_at(next) + count_at(lowest)));
            span.shift(1, 0, at - 1);
            span.set(at - 1, word_of(key, 1));
        }
    }
}

/// The bins of both. The lowest of more than [`BINS_MAX`] become one, under the highest key of theirs.
pub(super) fn merged(earlier: Span<'_, [u64]>, later: Span<'_, [u64]>) -> Vec<u64> {
    let words = |span: Span<'_, [u64]>| {
        (0..span.len()).map(move |at| span.get(at)).filter(|&word| word != 0).collect()
    };
    let mut all: Vec<u64> = words(earlier);
    let more: Vec<u64> = words(later);
    all.extend(more);
    all.sort_unstable();
    let mut bins: Vec<(i32, u64)> = Vec::new();
    for word in all {
        match bins.last_mut() {
            Some((key, count)) if *key == key_at(word) => *count += count_at(word),
            _ => bins.push((key_at(word), count_at(word))),
        }
    }
    let surplus = bins.len().saturating_sub(BINS_MAX);
    let lowest: u64 = bins[..surplus].iter().map(|(_, count)| count).sum();
    let mut kept = bins.split_off(surplus);
    if let Some((_, count)) = kept.first_mut() {
        *count += lowest;
    }
    kept.into_iter().map(|(key, count)| word_of(key, count)).collect()
}

pub(super) fn verify<W: Words + ?Sized>(span: Span<'_, W>) -> Result<(), Corrupt> {
    if span.len() > BINS_MAX {
        return Err(Corrupt(format!("a distribution has {} bins (most: {BINS_MAX})", span.len())));
    }
    let bins = lower_bound(span.len(), |at| span.get(at) != 0);
    let mut before = None;
    for at in 0..span.len() {
        let word = span.get(at);
        if at >= bins {
            if word != 0 {
                return Err(Corrupt(format!("a distribution has a bin at {at}, behind its last")));
            }
            continue;
        }
        let key = (((word >> 32) as u32) ^ KEY_BIAS).cast_signed();
        if !(-KEY_MAX..=KEY_MAX).contains(&key) || count_at(word) == 0 {
            return Err(Corrupt(format!(
                "a distribution's bin {at} has key {key} and count {}",
                count_at(word)
            )));
        }
        if before.is_some_and(|before| before >= key) {
            return Err(Corrupt(format!("a distribution's bin {at} is not above the one before")));
        }
        before = Some(key);
    }
    Ok(())
}

/// The sum of a window's distributions: a count for each key from the lowest to the highest.
#[derive(Debug, Default)]
pub(super) struct Bins {
    /// The key of the first count.
    low: i32,
    counts: Vec<u64>,
    total: u64,
}

impl Bins {
    pub(super) fn begin(&mut self) {
        self.counts.clear();
        self.total = 0;
    }

    pub(super) fn merge<W: Words + ?Sized>(&mut self, span: Span<'_, W>) {
        for at in 0..span.len() {
            let word = span.get(at);
            if word == 0 {
                break;
            }
            let key = key_at(word);
            let index = match usize::try_from(key - self.low) {
                Ok(index) if index < self.counts.len() => index,
                _ => self.widen(key),
            };
            self.counts[index] += count_at(word);
            self.total += count_at(word);
        }
    }

    /// Makes room for `key`, and says where it is. Keys are at most 147,000, so that counts take at most 1.2 MB.
    fn widen(&mut self, key: i32) -> usize {
        if self.counts.is_empty() {
            self.low = key;
        }
        if key < self.low {
            let more = (self.low - key) as usize + WINDOW_STEP;
            let len = self.counts.len();
            self.counts.resize(len + more, 0);
            self.counts.copy_within(..len, more);
            self.counts[..more.min(len)].fill(0);
            self.low -= more as i32;
        }
        let index = (key - self.low) as usize;
        if index >= self.counts.len() {
            self.counts.resize(index + WINDOW_STEP, 0);
        }
        index
    }

    /// The middle of the bin that holds the value of rank ⌊q (n − 1)⌋, counted from 0.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.total.checked_sub(1)?;
        let rank = ((q.clamp(0.0, 1.0) * last as f64) as u64).min(last);
        let mut upto = 0;
        self.counts.iter().zip(self.low..).find_map(|(count, key)| {
            upto += count;
            (upto > rank).then(|| middle_of(key))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{BINS_OCTAVE, KEY_MAX, key_of, middle_of};
    use crate::definition::FieldType;

    fn key(number: f64) -> i32 {
        key_of(FieldType::Float, number.to_bits())
    }

    #[test]
    fn every_number_is_within_one_percent_of_its_bin() {
        let mut number = f64::MIN_POSITIVE;
        while number < f64::MAX / 1.01 {
            for number in [number, -number] {
                let middle = middle_of(key(number));
                assert!((middle - number).abs() <= 0.01 * number.abs(), "{number:e} in {middle:e}");
            }
            number *= 1.000_713;
        }
        for number in [f64::MAX, f64::MIN, 1.0, 1f64.next_down(), 2.0, 2f64.next_down(), 1e-300] {
            let middle = middle_of(key(number));
            assert!((middle / number - 1.0).abs() <= 0.01, "{number:e} in {middle:e}");
        }
        assert_eq!(middle_of(key(0.0)), 0.0);
    }

    #[test]
    fn keys_are_in_the_order_of_numbers() {
        let mut numbers = vec![f64::MIN, -1.0, -5e-324, 0.0, 5e-324, f64::MIN_POSITIVE, 1.0, f64::MAX];
        numbers.extend((0..4_000).map(|step| 1.0 + f64::from(step) / 1_000.0));
        numbers.sort_by(f64::total_cmp);
        assert!(numbers.windows(2).all(|pair| key(pair[0]) <= key(pair[1])));
        assert_eq!(key(5e-324), 1);
        assert_eq!(key(f64::MAX), KEY_MAX);
        assert_eq!(key(f64::MIN), -KEY_MAX);
        assert_eq!(key(2.0) - key(1.0), BINS_OCTAVE);
    }

    #[test]
    fn an_integer_has_the_bin_of_its_number() {
        for number in [i64::MIN, -7, 0, 1, 1_000_003, i64::MAX] {
            assert_eq!(key_of(FieldType::Int, number.cast_unsigned()), key(number as f64));
        }
    }
}
