use super::{Args, Limits, Parsed, Parser, ProtocolError};

type Words = Vec<Vec<u8>>;

/// Parses a stream given in one piece: its commands, then the bytes left over or the error.
fn parse_all(stream: &[u8], limits: &Limits) -> (Vec<Words>, Result<Vec<u8>, ProtocolError>) {
    let (mut parser, mut args, mut commands, mut at) = (Parser::new(), Args::new(), Vec::new(), 0);
    loop {
        match parser.parse(&stream[at..], limits, &mut args) {
            Ok(Parsed::Command { consumed }) => {
                commands.push(args.iter(&stream[at..]).map(<[u8]>::to_vec).collect());
                at += consumed;
            }
            Ok(Parsed::Empty { consumed }) => at += consumed,
            Ok(Parsed::Incomplete) => return (commands, Ok(stream[at..].to_vec())),
            Err(error) => return (commands, Err(error)),
        }
    }
}

fn words(words: &[&str]) -> Words {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn a_pipeline_is_taken_command_by_command() {
    let stream = b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n*1\r\n$4\r\nPING\r\nECHO you\r\n*3\r\n$0\r\n\r\n$12\r\nabcdefghijkl\r\n$1\r\n\n\r\n*1\r\n$4\r\nQU";
    let (commands, rest) = parse_all(stream, &Limits::DEFAULT);
    assert_eq!(
        commands,
        [
            words(&["ECHO", "hi"]),
            words(&["PING"]),
            words(&["ECHO", "you"]),
            words(&["", "abcdefghijkl", "\n"])
        ]
    );
    assert_eq!(rest, Ok(b"*1\r\n$4\r\nQU".to_vec()));
}

#[test]
fn an_array_of_none_is_no_command() {
    for empty in ["*0\r\n", "*-1\r\n", "*-5\r\n", "\r\n", "\n", "  \t\r\n"] {
        let stream = [empty.as_bytes(), b"PING\r\n"].concat();
        assert_eq!(parse_all(&stream, &Limits::DEFAULT), (vec![words(&["PING"])], Ok(vec![])), "{empty:?}");
    }
}
