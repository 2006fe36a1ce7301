//! Properties of the request parser, over streams of any commands, cut anywhere, and damaged.

#[path = "oracle/requests.rs"]
mod oracle;

use oracle::{
    assert_agrees_with_redis_protocol, assert_cuts_do_not_matter, encode, encode_inline, parse_pieces,
};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use windrow_protocol::Limits;

/// Small enough for generated streams to exceed.
const TIGHT: Limits = Limits {
    args_max: 4,
    bulk_bytes_max: 12,
    inline_bytes_max: 24,
    command_bytes_max: 60,
    is_authenticated: true,
};

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..12),
        2 => vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'$'), Just(b'*'), Just(b'"'), Just(b'\\')], 0..6),
        1 => vec(any::<u8>(), 95..130),
    ]
}

fn command() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(word(), 1..14)
}

/// A command and one way to send it.
fn sent() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<u8>)> {
    (command(), any::<bool>()).prop_map(|(words, is_inline)| {
        let bytes = if is_inline { encode_inline(&words) } else { encode(&words) };
        (words, bytes)
    })
}

/// Bytes that are often nearly a request.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let marks = b"*$+-:0123456789\r\n\r\n\"'\\x ab\0\xff";
    let mark = (0..marks.len()).prop_map(move |i| marks[i]);
    prop_oneof![
        3 => (vec(sent(), 1..4), vec((any::<usize>(), mark.clone(), 0..4u8), 1..4)).prop_map(|(sent, edits)| {
            let mut bytes: Vec<u8> = sent.into_iter().flat_map(|(_, bytes)| bytes).collect();
            for (at, mark, kind) in edits {
                let at = at % bytes.len().max(1);
                match kind {
                    0 if !bytes.is_empty() => drop(bytes.remove(at)),
                    1 => bytes.insert(at, mark),
                    2 => bytes.truncate(at),
                    _ if !bytes.is_empty() => bytes[at] = mark,
                    _ => {}
                }
            }
            bytes
        }),
        1 => vec(mark, 0..60).prop_map(|bytes| [b"*".to_vec(), bytes].concat()),
        1 => vec(any::<u8>(), 0..60),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn commands_arrive_as_they_were_sent_however_cut(sent in vec(sent(), 0..6), cuts in vec(1..40usize, 1..8)) {
        let stream: Vec<u8> = sent.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let outcome = assert_cuts_do_not_matter(&stream, &cuts, &Limits::DEFAULT);
        assert_eq!(outcome.end, Ok(vec![]));
        assert_eq!(outcome.commands, sent.into_iter().map(|(words, _)| words).collect::<Vec<_>>());
    }

    #[test]
    fn no_beginning_of_a_request_is_refused((words, bytes) in sent(), cut in any::<usize>()) {
        let cut = cut % bytes.len();
        let outcome = parse_pieces([&bytes[..cut]], &Limits::DEFAULT);
        assert_eq!((outcome.commands, outcome.end), (vec![], Ok(bytes[..cut].to_vec())));
        assert_eq!(parse_pieces([&bytes[..]], &Limits::DEFAULT).commands, [words]);
    }

    #[test]
    fn damage_is_found_alike_however_cut(stream in damaged(), cuts in vec(1..40usize, 1..8)) {
        for limits in [Limits::DEFAULT, Limits::BEFORE_AUTH, TIGHT] {
            assert_cuts_do_not_matter(&stream, &cuts, &limits);
        }
    }

    #[test]
    fn valid_arrays_are_read_as_redis_protocol_reads_them(words in command(), cut in any::<usize>()) {
        let bytes = encode(&words);
        for limits in [Limits::DEFAULT, TIGHT] {
            assert_agrees_with_redis_protocol(&bytes, &limits);
            assert_agrees_with_redis_protocol(&bytes[..cut % bytes.len()], &limits);
        }
    }

    #[test]
    fn damaged_arrays_are_read_as_redis_protocol_reads_them(stream in damaged()) {
        for limits in [Limits::DEFAULT, TIGHT] {
            assert_agrees_with_redis_protocol(&stream, &limits);
        }
    }
}
