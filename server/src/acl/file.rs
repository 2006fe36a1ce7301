//! The ACL file: users as lines, in Redis' format.
//!
//! ```text
//! user default on #5e88… ~* &* +@all
//! user model on #9f86… %R~user:* resetchannels -@all +@window
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::rule::RuleError;
use super::store::AclError;
use super::users::{DEFAULT_USER, USERS_BYTES_MAX, Users};

/// Largest file read: twice what all users but the default one may have, so that every file that is written can be read.
const FILE_BYTES_MAX: u64 = 2 * USERS_BYTES_MAX as u64;
/// Most problems that are named at once.
const PROBLEMS_MAX: usize = 10;
/// So much of a line is repeated in a message.
const SHOWN_CHARS_MAX: usize = 64;

/// The users of a file. Where it does not have the default user, that is as the setting `requirepass` says.
pub(crate) fn read(path: &Path, requirepass: &str) -> Result<Users, AclError> {
    let at = path.display();
    let problem =
        |reason: String| AclError::File(format!("Error loading ACLs, opening file '{at}': {reason}"));
    let bytes = fs::metadata(path).map_err(|error| problem(error.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(problem(format!("{bytes} bytes are more than the {FILE_BYTES_MAX} that are read")));
    }
    let text = fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    parse(&text, &at.to_string(), requirepass)
}

/// The users of a file's text. The error names lines, as many as are wrong, or the first of them.
fn parse(text: &str, path: &str, requirepass: &str) -> Result<Users, AclError> {
    let mut users = Users::new(requirepass);
    let mut names: Vec<&str> = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Err(reason) = take_line(&mut users, &mut names, line) {
            problems.push(format!("{path}:{}: {reason}.", index + 1));
            if problems.len() == PROBLEMS_MAX {
                break;
            }
        }
    }
    if problems.is_empty() {
        return Ok(users);
    }
    problems.push(
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed".to_owned(),
    );
    Err(AclError::File(problems.join(" ")))
}

fn take_line<'a>(users: &mut Users, names: &mut Vec<&'a str>, line: &'a str) -> Result<(), String> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let (Some("user"), Some(name)) = (words.next(), words.next()) else {
        return Err("should start with user keyword followed by the username".to_owned());
    };
    if names.contains(&name) {
        let name: String = name.chars().take(SHOWN_CHARS_MAX).collect();
        return Err(format!("duplicate user '{name}': a user can only be defined once"));
    }
    names.push(name);
    // The default user of the file begins from nothing, as the others do.
    let reset = (name == DEFAULT_USER).then_some(&b"reset"[..]);
    users.set(name.as_bytes(), reset.into_iter().chain(words.map(str::as_bytes))).map_err(|error| match error
    {
        // A word that is no rule may be a password that lacks its sign: the line and the reason are enough.
        AclError::Rule { error: error @ RuleError::Syntax, .. } => {
            format!("Error in ACL SETUSER modifier: {error}")
        }
        error => error.to_string(),
    })
}

/// Replaces the file as a whole: after a crash it is the old one or the new one. Only its owner may read a new one.
pub(crate) fn write(path: &Path, users: &Users) -> io::Result<()> {
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new().prefix(".aclfile-").tempfile_in(directory)?;
    let mut lines = BufWriter::new(&mut file);
    for user in users.iter() {
        writeln!(lines, "{user}")?;
    }
    lines.flush()?;
    drop(lines);
    if let Ok(present) = fs::metadata(path) {
        file.as_file().set_permissions(present.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::PasswordHash;

    fn parsed(text: &str) -> Result<Vec<String>, String> {
        parse(text, "users.acl", "secret")
            .map(|users| users.iter().map(ToString::to_string).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_written_by_redis_is_read() {
        let text = "user default on nopass sanitize-payload ~* &* +@all\r\n\
                    \n\
                    user bob on #ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad %R~a* ~b resetchannels &foo -@all +ping\n";
        let users = parsed(text).unwrap();
        assert_eq!(
            users,
            [
                "user bob on #ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad %R~a* ~b resetchannels &foo -@all +ping",
                "user default on nopass ~* &* +@all",
            ]
        );
    }

    #[test]
    fn a_file_without_the_default_user_leaves_it_the_password_that_is_required() {
        let users = parse("user bob on", "users.acl", "secret").unwrap();
        assert!(!users.default_user().is_open());
        assert!(users.default_user().accepts(&PasswordHash::of(b"secret")));
        let users = parsed("user default off").unwrap();
        assert_eq!(users, ["user default off resetchannels -@all"], "one that is there begins from nothing");
    }

    #[test]
    fn every_wrong_line_is_named_and_nothing_is_taken() {
        let error = parsed("user a on\nusr b\nuser\nuser a off\nuser c +nosuch").unwrap_err();
        for part in [
            "users.acl:2: should start with user keyword",
            "users.acl:3: should start with user keyword",
            "users.acl:4: duplicate user 'a'",
            "users.acl:5: Error in ACL SETUSER modifier '+nosuch': Unknown command",
            "WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
        ] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
        // A password that lacks its sign, and one that has the wrong one.
        let error = parsed("user a on s3cret\nuser b on #s3cret\nuser c on (>s3cret").unwrap_err();
        for part in ["users.acl:1: ", "users.acl:2: ", "users.acl:3: "] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
        assert!(!error.contains("s3cret"), "{error}");
        let many = parsed(&"nonsense\n".repeat(1000)).unwrap_err();
        assert!(many.len() < 2000, "{}", many.len());
    }

    #[test]
    fn a_file_reads_back_as_it_was_written_and_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.acl");
        let mut users = Users::new("secret");
        users.set(b"bob", [&b"on"[..], b">x", b"~user:*", b"%R~card:*", b"+@window"]).unwrap();
        write(&path, &users).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write(&path, &users).unwrap();
        assert_eq!(mode(), 0o640);
        let lines = |users: &Users| users.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lines(&read(&path, "").unwrap()), lines(&users));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left there");
        let error = read(&directory.path().join("none"), "").unwrap_err().to_string();
        assert!(error.starts_with("Error loading ACLs, opening file '"), "{error}");
    }

    #[test]
    fn as_many_users_as_there_may_be_are_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.acl");
        let mut users = Users::new("");
        let channels: Vec<String> = (0..16).map(|index| format!("&{index}{}", "x".repeat(1000))).collect();
        let rules = || channels.iter().map(String::as_bytes);
        users.set(DEFAULT_USER.as_bytes(), [&b"resetchannels"[..]].into_iter().chain(rules())).unwrap();
        let mut count = 0;
        let error = loop {
            match users.set(format!("u{count}").as_bytes(), rules()) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, AclError::TooManyBytes), "{error} after {count}");
        write(&path, &users).unwrap();
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes > 9 * USERS_BYTES_MAX as u64 / 10 && bytes <= FILE_BYTES_MAX, "{bytes}");
        let mut again = read(&path, "secret").unwrap();
        assert_eq!(again.iter().len(), users.iter().len());
        assert!(matches!(again.set(b"one_more", rules()), Err(AclError::TooManyBytes)));
        users.replace(&again);
        // Who goes makes room, and who is there already can be made smaller.
        users.set(b"u1", [&b"resetchannels"[..]]).unwrap();
        users.set(b"one_more", rules()).unwrap();
        assert!(matches!(users.set(b"another", rules()), Err(AclError::TooManyBytes)));
        users.remove([&b"u2"[..]].into_iter()).unwrap();
        users.set(b"another", rules()).unwrap();
    }
}
