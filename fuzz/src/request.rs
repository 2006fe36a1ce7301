//! A stream of requests.

use windrow_protocol::command::{CommandId, answer, key_positions, resolve};
use windrow_protocol::reply::Proto;
use windrow_protocol::{Args, Limits, Parsed, Parser, Request};

use crate::requests::{assert_agrees_with_redis_protocol, assert_cuts_do_not_matter};

/// Limits that small inputs reach.
const TIGHT: Limits = Limits {
    args_max: 5,
    bulk_bytes_max: 20,
    inline_bytes_max: 30,
    command_bytes_max: 100,
    is_authenticated: true,
};

/// Parses a stream of commands.
///
/// Two letters in front of the stream choose the limits and the lengths of the pieces that it is cut into. The stream
/// means the same however cut; each of its arrays is what `redis-protocol` reads; no command makes the table panic.
pub fn request(data: &[u8]) {
    let [limits, cut, stream @ ..] = data else { return };
    let limits = [Limits::DEFAULT, Limits::BEFORE_AUTH, TIGHT][usize::from(*limits) % 3];
    let cut = usize::from(*cut);
    assert_cuts_do_not_matter(stream, &[1 + cut % 7, 1 + cut / 7], &limits);

    let (mut parser, mut args, mut rest) = (Parser::new(), Args::new(), stream);
    loop {
        assert_agrees_with_redis_protocol(rest, &limits);
        match parser.parse(rest, &limits, &mut args) {
            Ok(Parsed::Command { consumed }) => {
                look_up(args.bind(rest));
                rest = &rest[consumed..];
            }
            Ok(Parsed::Empty { consumed }) => rest = &rest[consumed..],
            Ok(Parsed::Incomplete) => return,
            Err(error) => {
                assert!(error.to_string().starts_with("Protocol error: "));
                return;
            }
        }
    }
}

/// What the server asks the table about a command, with any arguments.
fn look_up(request: Request<'_>) {
    let found = match resolve(request) {
        Ok(found) => found,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(found.command.takes(request.len()));
    if let Ok(keys) = key_positions(found.command, request) {
        assert!(keys.len() < request.len());
        assert!(keys.clone().all(|at| (1..request.len()).contains(&at)), "{keys:?}");
    }
    if found.command.id == CommandId::Command {
        let mut out = Vec::new();
        let answered = answer(&mut out, Proto::Resp2, found.subcommand.map(|sub| sub.id), request);
        assert_eq!(answered.is_err(), out.is_empty(), "a reply or an error, never both");
        if answered.is_ok() {
            let read = redis_protocol::resp2::decode::decode(&out);
            assert!(matches!(read, Ok(Some((_, taken))) if taken == out.len()), "one whole reply");
        }
    }
}
