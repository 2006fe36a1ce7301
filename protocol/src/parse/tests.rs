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

#[test]
fn errors_are_worded_as_in_redis() {
    for (stream, text) in [
        ("*1000000000\r\n", "invalid multibulk length"),
        ("*3000000000\r\n", "invalid multibulk length"),
        ("*9223372036854775808\r\n", "invalid multibulk length"),
        ("*+1\r\n", "invalid multibulk length"),
        ("*01\r\n", "invalid multibulk length"),
        ("*-0\r\n", "invalid multibulk length"),
        ("*\r\n", "invalid multibulk length"),
        ("*abc\r\n", "invalid multibulk length"),
        ("*1\r\n$01\r\n", "invalid bulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$1000000000000\r\n", "invalid bulk length"),
        ("*1\r\n$1048577\r\n", "invalid bulk length"),
        ("*1\r\nx1\r\n", "expected '$', got 'x'"),
        ("*1\r\n*1\r\n", "expected '$', got '*'"),
        ("*1\r\n\r\n", "expected '$', got '\\x0d'"),
        ("*1\r\n$4\r\nPINGxx", "expected CRLF after a bulk string of the announced length"),
        ("PING \"a\r\n", "unbalanced quotes in request"),
        ("\"a\"b\r\n", "unbalanced quotes in request"),
    ] {
        let (commands, end) = parse_all(stream.as_bytes(), &Limits::DEFAULT);
        assert!(commands.is_empty(), "{stream:?}");
        assert_eq!(
            end.map_err(|error| error.to_string()),
            Err(format!("Protocol error: {text}")),
            "{stream:?}"
        );
    }
}

#[test]
fn before_authentication_little_is_taken() {
    let error = |stream: &[u8]| parse_all(stream, &Limits::BEFORE_AUTH).1.map_err(|error| error.to_string());
    assert_eq!(error(b"*11\r\n"), Err("Protocol error: unauthenticated multibulk length".into()));
    assert_eq!(error(b"*1\r\n$16385\r\n"), Err("Protocol error: unauthenticated bulk length".into()));
    assert_eq!(error(b"*10\r\n$16384\r\n"), Ok(b"*10\r\n$16384\r\n".to_vec()));
    assert_eq!(error(b"a b c d e f g h i j\r\n"), Ok(vec![]));
    assert!(error(b"a b c d e f g h i j k\r\n").is_err());
}

#[test]
fn each_limit_is_the_last_value_taken() {
    let limits = Limits {
        args_max: 3,
        bulk_bytes_max: 10,
        inline_bytes_max: 8,
        command_bytes_max: 30,
        is_authenticated: true,
    };
    let end = |stream: &[u8]| parse_all(stream, &limits).1;
    assert_eq!(end(b"*3\r\n"), Ok(b"*3\r\n".to_vec()));
    assert_eq!(end(b"*4\r\n"), Err(ProtocolError::InvalidMultibulkLength));
    assert_eq!(end(b"*1\r\n$10\r\n0123456789\r\n"), Ok(vec![]));
    assert_eq!(end(b"*1\r\n$11\r\n"), Err(ProtocolError::InvalidBulkLength));
    assert_eq!(end(b"12345678\n"), Ok(vec![]));
    assert_eq!(end(b"1234567\r\n"), Ok(vec![]));
    assert_eq!(end(b"123456789"), Err(ProtocolError::TooBigInline));
    assert_eq!(end(b"*2\r\n$9\r\n012345678\r\n$5\r\n01234\r\n"), Ok(vec![]));
    assert_eq!(end(b"*2\r\n$9\r\n012345678\r\n$6\r\n"), Err(ProtocolError::TooBigCommand { bytes_max: 30 }));
}

#[test]
fn inline_commands_are_split_as_in_redis() {
    for (line, expected) in [
        ("set  key\tvalue", &["set", "key", "value"][..]),
        ("  a  ", &["a"]),
        ("a\u{b}b \u{b}c", &["a\u{b}b", "c"]),
        ("a\rb", &["a", "b"]),
        (r#"a "" ''"#, &["a", "", ""]),
        (r#""\x41\n\r\t\b\a\q\\\"""#, &["A\n\r\t\u{8}\u{7}q\\\""]),
        (r#""\x4" "\xzz""#, &["x4", "xzz"]),
        (r"'\n\'\x41\\ '", &[r"\n'\x41\\ "]),
        (r"'\\'", &[]),
        (r#"a"b c"'d e'"#, &[]),
        (r#"a"b c" d'e f'"#, &["ab c", "de f"]),
        (r"a\ b", &[r"a\", "b"]),
        ("nul\0byte", &["nul\0byte"]),
        ("é \u{fffd}", &["é", "\u{fffd}"]),
    ] {
        for line_end in ["\r\n", "\n"] {
            let (commands, end) = parse_all(format!("{line}{line_end}").as_bytes(), &Limits::DEFAULT);
            if expected.is_empty() {
                assert_eq!(end, Err(ProtocolError::UnbalancedQuotes), "{line:?}");
            } else {
                assert_eq!((commands, end), (vec![words(expected)], Ok(vec![])), "{line:?}");
            }
        }
    }
}

#[test]
fn what_was_understood_is_not_read_again() {
    let command = format!("*3\r\n$5\r\nfirst\r\n$200\r\n{}\r\n$4\r\nlast\r\n", "x".repeat(200));
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let understood = "*3\r\n$5\r\nfirst\r\n".len();
    assert_eq!(parser.parse(&command.as_bytes()[..100], &Limits::DEFAULT, &mut args), Ok(Parsed::Incomplete));
    assert!(parser.is_mid_command());
    let mut altered = command.clone().into_bytes();
    altered[1..understood].fill(b'?');
    let parsed = parser.parse(&altered, &Limits::DEFAULT, &mut args);
    assert_eq!(parsed, Ok(Parsed::Command { consumed: command.len() }));
    assert_eq!(
        args.iter(command.as_bytes()).map(<[u8]>::len).collect::<Vec<_>>(),
        [5, 200, 4],
        "ranges hold in the buffer as it was"
    );

    let line = b"ECHO abcdefghij\r\n";
    assert_eq!(parser.parse(&line[..8], &Limits::DEFAULT, &mut args), Ok(Parsed::Incomplete));
    let mut altered = line.to_vec();
    altered[5] = b'\n'; // would end the line here, were it searched again
    let parsed = parser.parse(&altered, &Limits::DEFAULT, &mut args);
    assert_eq!(parsed, Ok(Parsed::Command { consumed: line.len() }));
}

#[test]
#[should_panic(expected = "bytes of an unfinished command were dropped")]
fn dropping_bytes_of_an_unfinished_command_is_a_bug() {
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let _ = parser.parse(b"*2\r\n$4\r\nECHO\r\n$1\r\n", &Limits::DEFAULT, &mut args);
    let _ = parser.parse(b"$1\r\na\r\n", &Limits::DEFAULT, &mut args);
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let parsed = parser.parse(b"*1048576\r\n$1048576\r\n", &Limits::DEFAULT, &mut args);
    assert_eq!(parsed, Ok(Parsed::Incomplete));
    assert_eq!(args.allocated_bytes(), 0);
}

#[test]
fn a_warm_list_takes_no_more_memory_and_a_giant_one_is_given_back() {
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let mut parse = |stream: &[u8]| {
        let parsed = parser.parse(stream, &Limits::DEFAULT, &mut args);
        assert_eq!(parsed, Ok(Parsed::Command { consumed: stream.len() }));
        args.allocated_bytes()
    };
    let (array, line) = (b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", b"a \"b\" 'c'\r\n");
    parse(array);
    let warm = parse(line);
    assert_eq!((parse(array), parse(line)), (warm, warm));

    let giant = [b"*100000\r\n".to_vec(), b"$0\r\n\r\n".repeat(100_000)].concat();
    assert!(parse(&giant) >= 100_000 * 8);
    assert!(parse(array) < 100_000);
    assert!(parse(format!("\"{}\"\r\n", "x".repeat(60_000)).as_bytes()) >= 60_000);
    assert!(parse(line) < 60_000);
}

#[test]
fn a_request_without_its_first_arguments_keeps_the_others() {
    let stream = b"a 'b' c\r\n";
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let _ = parser.parse(stream, &Limits::DEFAULT, &mut args);
    let request = args.bind(stream);
    assert_eq!((request.len(), request.get(1), request.get(3)), (3, Some(&b"b"[..]), None));
    assert_eq!(request.skip(1).iter().collect::<Vec<_>>(), [b"b", b"c"]);
    assert_eq!((request.skip(2).at(0), args.get(stream, 2)), (&b"c"[..], &b"c"[..]));
    assert!(request.skip(3).is_empty() && request.skip(4).is_empty());
}
