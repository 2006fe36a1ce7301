//! Glob patterns as Redis has them.

/// Whether `text` matches `pattern`, letters of either case being the same.
///
/// `*` any bytes, `?` any one byte, `[abc]`, `[^abc]`, `[a-z]` one byte of (or not of) a set, `\` takes the next byte as
/// it is; a set without its `]` ends with the pattern. Needs at most `pattern.len() × text.len()` steps.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_as(pattern, text, |byte| byte.to_ascii_lowercase())
}

/// The same with letters of either case told apart.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_as(pattern, text, |byte| byte)
}

/// Bytes are the same when `folded` makes the same of them.
fn matches_as(pattern: &[u8], text: &[u8], folded: fn(u8) -> u8) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the rest does not match: behind the last star, one more byte of text given to it.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        if t < text.len()
            && let Some(next) = match_one(pattern, p, text[t], folded)
        {
            p = next;
            t += 1;
            continue;
        }
        match &mut retry {
            Some((behind_star, given)) if *given < text.len() => {
                *given += 1;
                (p, t) = (*behind_star, *given);
            }
            _ => return false,
        }
    }
}

/// Matches `byte` with the one-byte pattern at `p`; returns where the next begins.
fn match_one(pattern: &[u8], p: usize, byte: u8, folded: fn(u8) -> u8) -> Option<usize> {
    match pattern[p..] {
        [] => None,
        [b'?', ..] => Some(p + 1),
        [b'[', ..] => {
            let (is_in, next) = match_set(pattern, p + 1, byte, folded);
            is_in.then_some(next)
        }
        [b'\\', literal, ..] => (folded(literal) == folded(byte)).then_some(p + 2),
        [literal, ..] => (folded(literal) == folded(byte)).then_some(p + 1),
    }
}

/// Whether `byte` is in the set whose text begins at `p`, and where the pattern goes on behind it.
fn match_set(pattern: &[u8], mut p: usize, byte: u8, folded: fn(u8) -> u8) -> (bool, usize) {
    let byte = folded(byte);
    let is_negated = pattern.get(p) == Some(&b'^');
    if is_negated {
        p += 1;
    }
    let mut is_in = false;
    loop {
        match pattern[p..] {
            [] => return (is_in != is_negated, p),
            [b']', ..] => return (is_in != is_negated, p + 1),
            [b'\\', literal, ..] => {
                is_in |= folded(literal) == byte;
                p += 2;
            }
            [from, b'-', to, ..] => {
                let (from, to) = (folded(from), folded(to));
                is_in |= (from.min(to)..=from.max(to)).contains(&byte);
                p += 3;
            }
            [literal, ..] => {
                is_in |= folded(literal) == byte;
                p += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches_ignoring_case as matches;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("**", "abc"),
            ("a*c", "abbc"),
            ("a*b*c", "a-b-b-c"),
            ("A?c", "aBC"),
            ("stream.*", "STREAM.CREATE"),
            ("[a-c]x", "Bx"),
            ("[c-a]x", "bx"),
            ("[^a-c]x", "dx"),
            ("\\*", "*"),
            ("[\\]]", "]"),
            ("[abc", "b"),
            ("*|*", "client|id"),
        ] {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} {text:?}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("a*c", "abcd"),
            ("?", ""),
            ("[a-c]", "d"),
            ("[^a]", "A"),
            ("\\*", "a"),
            ("[", "a"),
        ] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn case_matters_where_it_is_asked_to() {
        assert!(super::matches(b"user:[a-c]*", b"user:b7") && super::matches(b"A\\?", b"A?"));
        for text in [&b"User:b7"[..], b"user:B7"] {
            assert!(!super::matches(b"user:[a-c]*", text));
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = b"*a".repeat(200);
        let text = [b'a'; 150];
        assert!(!matches(&pattern, &text));
    }
}
