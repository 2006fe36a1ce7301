//! Inline commands: one line of words, quoted as in Redis' `sdssplitargs`.
//!
//! | where | rule |
//! | --- | --- |
//! | between words | any run of space, `\t`, `\n`, `\v`, `\f`, `\r` |
//! | plain text | ends at space, `\t`, `\n`, `\r`; a quote opens quoted text within the same word |
//! | `"…"` | `\n \r \t \b \a`, `\xHH`; any other character behind a backslash is itself |
//! | `'…'` | `\'` is a quote, any other backslash is itself |
//! | behind a closing quote | white space or the end of the line, else the quotes are unbalanced |

use super::{Args, Limits, ProtocolError};

/// Splits `line`, which is the start of the buffer without its line end, into `args`.
pub(super) fn split(line: &[u8], limits: &Limits, args: &mut Args) -> Result<(), ProtocolError> {
    let is_quoted = line.iter().any(|&byte| matches!(byte, b'"' | b'\''));
    if is_quoted {
        args.clear_for_unescaped();
    } else {
        args.clear();
    }
    let mut at = 0;
    loop {
        while at < line.len() && is_space(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return Ok(());
        }
        if args.len() >= limits.args_max as usize {
            return Err(limits.too_many_args());
        }
        at = if is_quoted { unescape_word(line, at, args)? } else { plain_word(line, at, args) };
    }
}

/// Takes the word at `start` as it stands; returns where it ends.
fn plain_word(line: &[u8], start: usize, args: &mut Args) -> usize {
    let len = line[start..].iter().position(|&byte| ends_plain_text(byte)).unwrap_or(line.len() - start);
    args.push(start as u32, len as u32);
    start + len
}

/// Unescapes the word at `at` into the text of `args`; returns where it ends in the line.
fn unescape_word(line: &[u8], mut at: usize, args: &mut Args) -> Result<usize, ProtocolError> {
    let text = args.unescaped_mut();
    let start = text.len();
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' => {
                at = unescape_double(line, at + 1, text)?;
                break;
            }
            b'\'' => {
                at = unescape_single(line, at + 1, text)?;
                break;
            }
            _ if ends_plain_text(byte) => break,
            _ => text.push(byte),
        }
        at += 1;
    }
    let len = text.len() - start;
    args.push(start as u32, len as u32);
    Ok(at)
}

/// Unescapes `…"` up to the closing quote; returns where the text behind the quote begins.
fn unescape_double(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match line[at..] {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'"', ..] => return behind_closing_quote(line, at),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text.push(hex_value(high) << 4 | hex_value(low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                text.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            [byte, ..] => {
                text.push(byte);
                at += 1;
            }
        }
    }
}

/// Unescapes `…'` up to the closing quote; returns where the text behind the quote begins.
fn unescape_single(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match line[at..] {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'\'', ..] => return behind_closing_quote(line, at),
            [b'\\', b'\'', ..] => {
                text.push(b'\'');
                at += 2;
            }
            [byte, ..] => {
                text.push(byte);
                at += 1;
            }
        }
    }
}

fn behind_closing_quote(line: &[u8], quote: usize) -> Result<usize, ProtocolError> {
    match line.get(quote + 1) {
        Some(&byte) if !is_space(byte) => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(quote + 1),
    }
}

/// C's `isspace`, which also takes the vertical tab.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Plain text runs on over a vertical tab and a form feed, as it does in Redis.
const fn ends_plain_text(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

const fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}
