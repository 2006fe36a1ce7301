//! An inline command.

use windrow_protocol::Limits;

use crate::requests::{assert_cuts_do_not_matter, encode, encode_inline, parse_pieces};

/// Parses a line as an inline command, and sends what it says in the two other ways there are: every word quoted, and
/// as an array. All three mean the same.
pub fn inline(data: &[u8]) {
    if data.first() == Some(&b'*') {
        return; // an array
    }
    let line = [data.split(|&byte| byte == b'\n').next().unwrap_or_default(), b"\n"].concat();
    let outcome = assert_cuts_do_not_matter(&line, &[3, 5], &Limits::DEFAULT);
    let Ok(rest) = outcome.end else { return };
    assert!(rest.is_empty(), "a whole line leaves nothing over");
    let [words] = &outcome.commands[..] else {
        assert!(
            line.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0x0b),
            "only a blank line says nothing"
        );
        return;
    };
    // Quoting makes a line up to four times as long.
    let limits = Limits { inline_bytes_max: 16 + 8 * Limits::DEFAULT.inline_bytes_max, ..Limits::DEFAULT };
    for bytes in [encode_inline(words), encode(words)] {
        let again = parse_pieces([&bytes[..]], &limits);
        assert_eq!(
            (&again.commands, &again.end),
            (&outcome.commands, &Ok(vec![])),
            "{}",
            bytes.escape_ascii()
        );
    }
}
