//! What to do about an error reply that tells more of how the generator was called than of the server.

/// Beginnings or parts of error replies, as Windrow, Redis and Valkey word them, and what to do about each.
const REMEDIES: [(&str, &str); 6] = [
    ("NOAUTH", "it asks for a password: --password, and --user unless it is the default user's"),
    ("unauthenticated", "it asks for a password: --password, and --user unless it is the default user's"),
    ("WRONGPASS", "--user and --password say who to be"),
    ("NOPERM", "this user may not do that: --user and --password name another"),
    ("unknown command", "it is another kind of server: --target says whose commands to send"),
    ("max number of clients", "take fewer connections (-c), or have the server allow more (maxclients)"),
];

/// What to do about an error reply, if it is known.
pub(crate) fn of_reply(reply: &str) -> Option<&'static str> {
    REMEDIES.iter().find(|(part, _)| reply.contains(part)).map(|(_, remedy)| *remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_product_s_words_for_a_missing_password_lead_to_the_password() {
        for reply in [
            "-NOAUTH Authentication required.",
            "-ERR Protocol error: unauthenticated multibulk length",
            "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass>",
        ] {
            assert!(of_reply(reply).is_some_and(|remedy| remedy.contains("--password")), "{reply}");
        }
        assert_eq!(of_reply("-OOM command not allowed when used memory > 'maxmemory'."), None);
    }
}
