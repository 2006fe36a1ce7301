use super::{
    ERROR_BYTES_MAX, Proto, array, boolean, bulk, double, error, error_display, format_f64, integer, map,
    null, null_array, push, set, simple, verbatim,
};

/// What a writer appends, in both versions.
fn both(write: impl Fn(&mut Vec<u8>, Proto)) -> [String; 2] {
    [Proto::Resp2, Proto::Resp3].map(|proto| {
        let mut out = b"before".to_vec();
        write(&mut out, proto);
        String::from_utf8(out).expect("ASCII").strip_prefix("before").expect("appended").to_owned()
    })
}

#[test]
fn each_version_has_its_own_bytes() {
    assert_eq!(both(null), ["$-1\r\n", "_\r\n"]);
    assert_eq!(both(null_array), ["*-1\r\n", "_\r\n"]);
    assert_eq!(both(|out, proto| double(out, proto, 1.5)), ["$3\r\n1.5\r\n", ",1.5\r\n"]);
    assert_eq!(both(|out, proto| double(out, proto, f64::INFINITY)), ["$3\r\ninf\r\n", ",inf\r\n"]);
    assert_eq!(both(|out, proto| boolean(out, proto, true)), [":1\r\n", "#t\r\n"]);
    assert_eq!(both(|out, proto| boolean(out, proto, false)), [":0\r\n", "#f\r\n"]);
    assert_eq!(both(|out, proto| map(out, proto, 7)), ["*14\r\n", "%7\r\n"]);
    assert_eq!(both(|out, proto| set(out, proto, 12)), ["*12\r\n", "~12\r\n"]);
    assert_eq!(both(|out, proto| push(out, proto, 2)), ["*2\r\n", ">2\r\n"]);
    assert_eq!(
        both(|out, proto| verbatim(out, proto, *b"txt", b"Some string")),
        ["$11\r\nSome string\r\n", "=15\r\ntxt:Some string\r\n"]
    );
}

#[test]
fn both_versions_share_the_rest() {
    assert_eq!(both(|out, _| simple(out, "OK")), ["+OK\r\n"; 2]);
    assert_eq!(both(|out, _| integer(out, 9)), [":9\r\n"; 2]);
    assert_eq!(both(|out, _| integer(out, 10)), [":10\r\n"; 2]);
    assert_eq!(both(|out, _| integer(out, i64::MIN)), [":-9223372036854775808\r\n"; 2]);
    assert_eq!(both(|out, _| bulk(out, b"")), ["$0\r\n\r\n"; 2]);
    assert_eq!(both(|out, _| bulk(out, b"0123456789")), ["$10\r\n0123456789\r\n"; 2]);
    assert_eq!(both(|out, _| array(out, 0)), ["*0\r\n"; 2]);
    assert_eq!(both(|out, _| error(out, "ERR no")), ["-ERR no\r\n"; 2]);
}

#[test]
fn a_line_end_cannot_be_smuggled_into_a_line() {
    assert_eq!(both(|out, _| simple(out, "a\r\nb")), ["+a  b\r\n"; 2]);
    assert_eq!(both(|out, _| error(out, "ERR '\r\n+OK\r\n'")), ["-ERR '  +OK  '\r\n"; 2]);
    assert_eq!(both(|out, _| error_display(out, format_args!("ERR {}\n{}", 1, 2))), ["-ERR 1 2\r\n"; 2]);
}

#[test]
fn an_error_is_cut_between_characters() {
    let mut out = Vec::new();
    let text = format!("{}{}", "x".repeat(ERROR_BYTES_MAX - 1), "é");
    error_display(&mut out, format_args!("{text}{}", "y"));
    assert_eq!(out, format!("-{}\r\n", "x".repeat(ERROR_BYTES_MAX - 1)).into_bytes());
    out.clear();
    error(&mut out, &"x".repeat(ERROR_BYTES_MAX));
    assert_eq!(out.len(), 1 + ERROR_BYTES_MAX + 2);
}

#[test]
fn a_number_is_as_short_as_it_can_be() {
    for (value, expected) in [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.0, "-1"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (12.5, "12.5"),
        (1e14, "100000000000000"),
        (999_999_999_999_999.0, "999999999999999"),
        (1e15, "1000000000000000"),
        (9_007_199_254_740_993.0, "9007199254740992"),
        (1e16, "1e16"),
        (1.5e300, "1.5e300"),
        (-2.5e-7, "-2.5e-7"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e308"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
        (-f64::NAN, "nan"),
    ] {
        let mut out = Vec::new();
        format_f64(&mut out, value);
        assert_eq!(String::from_utf8(out).expect("ASCII"), expected, "{value:e}");
    }
}
