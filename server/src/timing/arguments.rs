//! A command's arguments as they are kept: cut to a bounded size as in Redis, and without secrets.

use windrow_protocol::Request;

/// So many arguments are kept; of more, the last one kept says how many there are.
const ARGS_MAX: usize = 32;
/// So many bytes of each; a longer one says how many there are.
const ARG_BYTES_MAX: usize = 128;
/// What stands for a password.
const REDACTED: &[u8] = b"(redacted)";

/// The arguments, the command's name first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments(Vec<Box<[u8]>>);

impl Arguments {
    pub(crate) fn of(request: Request<'_>) -> Self {
        let (secrets, len) = (Secrets::of(request), request.len());
        let mut kept = Self::default();
        for (index, arg) in request.iter().take(if len > ARGS_MAX { ARGS_MAX - 1 } else { len }).enumerate() {
            kept.push(if secrets.hold(request, index) { REDACTED } else { arg });
        }
        if len > ARGS_MAX {
            kept.push(format!("... ({} more arguments)", len - ARGS_MAX + 1).as_bytes());
        }
        kept
    }

    /// Adds one, cut where it is too long. No more than [`ARGS_MAX`] are taken.
    pub(crate) fn push(&mut self, arg: &[u8]) {
        if self.0.len() >= ARGS_MAX {
            return;
        }
        self.0.push(if arg.len() > ARG_BYTES_MAX {
            let more = format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX);
            [&arg[..ARG_BYTES_MAX], more.as_bytes()].concat().into()
        } else {
            arg.into()
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Bytes of memory held, the allocator's part included.
    pub(crate) fn held_bytes(&self) -> usize {
        let list = allocation_bytes(self.0.capacity() * size_of::<Box<[u8]>>());
        list + self.0.iter().map(|arg| allocation_bytes(arg.len())).sum::<usize>()
    }
}

/// What an allocation of so many bytes takes: common allocators put a word in front of it, and give out multiples of 16 bytes, 32 at
/// least.
pub(super) fn allocation_bytes(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + size_of::<usize>()).next_multiple_of(16).max(32) }
}

/// Which arguments of a command are secret. Rather one too many than one too few: a command that is ill-formed is kept too.
enum Secrets {
    None,
    /// All from this one on.
    From(usize),
    /// Two behind each `AUTH`.
    BehindAuth,
}

impl Secrets {
    fn of(request: Request<'_>) -> Self {
        let is = |index: usize, word: &str| {
            request.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
        };
        if is(0, "AUTH") {
            Self::From(1)
        } else if is(0, "HELLO") {
            Self::BehindAuth
        } else if is(0, "ACL") && is(1, "SETUSER") {
            Self::From(2)
        } else if is(0, "CONFIG") && is(1, "SET") {
            let names_password = |arg: &[u8]| arg.to_ascii_lowercase().windows(4).any(|part| part == b"pass");
            match request.iter().skip(2).position(names_password) {
                Some(at) => Self::From(2 + at + 1),
                None => Self::None,
            }
        } else {
            Self::None
        }
    }

    fn hold(&self, request: Request<'_>, index: usize) -> bool {
        match *self {
            Self::None => false,
            Self::From(first) => index >= first,
            Self::BehindAuth => [1, 2].iter().any(|back| {
                index
                    .checked_sub(*back)
                    .filter(|at| *at >= 1)
                    .is_some_and(|at| request.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(b"AUTH")))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use windrow_protocol::{Args, Limits, Parser};

    use super::*;

    fn kept(line: &str) -> Vec<String> {
        let line = format!("{line}\r\n");
        let mut args = Args::new();
        Parser::new().parse(line.as_bytes(), &Limits::DEFAULT, &mut args).unwrap();
        let kept = Arguments::of(args.bind(line.as_bytes()));
        kept.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
    }

    #[test]
    fn of_many_arguments_the_first_are_kept_and_the_others_counted() {
        let line = |count: usize| (0..count).map(|i| format!("a{i} ")).collect::<String>();
        assert_eq!(kept(&line(32)).len(), 32);
        assert_eq!(kept(&line(32))[31], "a31");
        let cut = kept(&line(100));
        assert_eq!((cut.len(), cut[30].as_str(), cut[31].as_str()), (32, "a30", "... (69 more arguments)"));
    }

    #[test]
    fn a_long_argument_is_cut_and_says_by_how_much() {
        assert_eq!(kept(&format!("ECHO {}", "x".repeat(128)))[1], "x".repeat(128));
        let cut = kept(&format!("ECHO {}", "x".repeat(1128)));
        assert_eq!(cut[1], format!("{}... (1000 more bytes)", "x".repeat(128)));
    }

    #[test]
    fn no_secret_is_kept() {
        for (line, expected) in [
            ("AUTH S3cret", "AUTH (redacted)"),
            ("auth user S3cret", "auth (redacted) (redacted)"),
            ("AUTH user S3cret S3cret", "AUTH (redacted) (redacted) (redacted)"),
            ("HELLO 3 AUTH user S3cret SETNAME me", "HELLO 3 AUTH (redacted) (redacted) SETNAME me"),
            ("hello 3 setname me auth user S3cret", "hello 3 setname me auth (redacted) (redacted)"),
            ("HELLO AUTH user S3cret", "HELLO AUTH (redacted) (redacted)"),
            ("CONFIG SET requirepass S3cret", "CONFIG SET requirepass (redacted)"),
            (
                "config set maxmemory 5mb RequirePass S3cret",
                "config set maxmemory 5mb RequirePass (redacted)",
            ),
            ("CONFIG SET timeout 1 2", "CONFIG SET timeout 1 2"),
            ("ACL SETUSER S3cret >S3cret", "ACL SETUSER (redacted) (redacted)"),
            ("ECHO AUTH me", "ECHO AUTH me"),
        ] {
            assert_eq!(kept(line).join(" "), expected);
            assert!(!expected.contains("S3cret"), "{line}");
        }
    }
}
