use super::{Proto, double};

#[test]
fn a_double_is_a_bulk_string_in_resp2() {
    let mut out = Vec::new();
    double(&mut out, Proto::Resp2, 1.5);
    double(&mut out, Proto::Resp3, 1.5);
    assert_eq!(out, b"$3\r\n1.5\r\n,1.5\r\n");
}
