//! `windrow demo`, as a person first meets it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use windrow_tests::server::{Home, Launch, binary};

/// A repository of three commits: two authors, a rename, a binary file, a path that is not UTF-8.
fn repository() -> TempDir {
    let dir = TempDir::with_prefix("windrow-demo-").expect("a temporary directory can be made");
    let at = dir.path();
    git(at, "Ada", 1_600_000_000, &["init", "-q", "-b", "main"]);
    fs::create_dir_all(at.join("src")).unwrap();
    fs::write(at.join("src/a.txt"), "1\n2\n3\n4\n5\n6\n").unwrap();
    fs::write(at.join("README"), "read me\n").unwrap();
    git(at, "Ada", 1_600_000_000, &["add", "."]);
    git(at, "Ada", 1_600_000_000, &["commit", "-q", "-m", "one"]);
    fs::create_dir_all(at.join("docs")).unwrap();
    fs::rename(at.join("src/a.txt"), at.join("docs/b.txt")).unwrap();
    fs::write(at.join("image.bin"), [0_u8, 159, 146, 150, 0]).unwrap();
    git(at, "Bob", 1_600_000_100, &["add", "-A"]);
    git(at, "Bob", 1_600_000_100, &["commit", "-q", "-m", "two"]);
    let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"caf\xe9");
    fs::create_dir_all(at.join::<&std::ffi::OsStr>(odd)).unwrap();
    fs::write(at.join::<&std::ffi::OsStr>(odd).join("x"), "1\n2\n").unwrap();
    git(at, "Ada", 1_600_000_200, &["add", "-A"]);
    git(at, "Ada", 1_600_000_200, &["commit", "-q", "-m", "three"]);
    dir
}

fn git(at: &Path, author: &str, time_s: i64, args: &[&str]) {
    let (email, date) = (format!("{author}@example.org"), format!("{time_s} +0000"));
    let status = Command::new("git")
        .current_dir(at)
        .envs([("GIT_AUTHOR_NAME", author), ("GIT_AUTHOR_EMAIL", &email), ("GIT_AUTHOR_DATE", &date)])
        .envs([
            ("GIT_COMMITTER_NAME", author),
            ("GIT_COMMITTER_EMAIL", &email),
            ("GIT_COMMITTER_DATE", &date),
        ])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(args)
        .status();
    assert!(status.expect("git can be run").success(), "git {args:?}");
}

/// Runs the demo until its table, in `cwd`.
fn demo(cwd: &Path, args: &[&str]) -> Output {
    Command::new(binary())
        .current_dir(cwd)
        .arg("demo")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary can be started")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_history_of_a_repository_becomes_features() {
    let (repository, home) = (repository(), Home::new());
    let data = home.data();
    let output = demo(repository.path(), &["--exit", "--dir", data.to_str().unwrap(), "--shards", "2"]);
    assert!(output.status.success(), "{}", text(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("author:"), "no table: {shown}");
    assert_eq!(shown.matches("redis-cli -p ").count(), 3, "three lines to try: {shown}");

    let server = Launch::shards(1).start_in(home);
    let mut conn = server.connect();
    let mut row = |entity: &[u8]| {
        let features: [&[u8]; 3] = [b"count:all", b"sum(added):all", b"sum(deleted):all"];
        let args = [&[&b"WINDOW.GET"[..], entity, b"commits"][..], &features].concat();
        conn.args(&args).into_elements().iter().map(windrow_tests::resp::Reply::int).collect::<Vec<_>>()
    };
    assert_eq!(row(b"path:src"), [1, 6, 0], "a rename belongs to its new folder");
    assert_eq!(row(b"path:."), [2, 1, 0], "README, and a binary file of no lines");
    assert_eq!(row(b"path:docs"), [1, 0, 0]);
    assert_eq!(row(b"path:caf\xe9"), [1, 2, 0]);
    let authors: Vec<&str> = shown.split_whitespace().filter(|word| word.starts_with("author:")).collect();
    let mut counts: Vec<Vec<i64>> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for author in authors {
        if seen.insert(author) {
            counts.push(row(author.as_bytes()));
        }
    }
    assert_eq!(counts, [vec![2, 9, 0], vec![1, 0, 0]], "two authors, the busier one first: {shown}");
}

#[test]
fn a_directory_is_not_loaded_twice_unless_asked() {
    let (repository, home) = (repository(), Home::new());
    let data = home.data();
    let options = ["--exit", "--dir", data.to_str().unwrap()];
    for (more, said) in [(None, None), (None, Some("--reload")), (Some("--reload"), None)] {
        let args: Vec<&str> = options.iter().copied().chain(more).collect();
        let output = demo(repository.path(), &args);
        assert!(output.status.success(), "{}", text(&output));
        assert!(
            said.is_none_or(|said| text(&output).contains(said)),
            "it does not say that it skipped: {}",
            text(&output)
        );
    }
    let server = Launch::shards(1).start_in(home);
    let row = server.connect().cmd("WINDOW.GET path:. commits count:all").into_elements();
    assert_eq!(row[0].int(), 2, "every load but one was skipped or started anew");
}

#[test]
fn what_it_cannot_read_is_said_in_a_sentence_with_what_to_do() {
    let empty = TempDir::new().unwrap();
    let fresh = TempDir::new().unwrap();
    git(fresh.path(), "Ada", 0, &["init", "-q"]);
    fs::write(empty.path().join("header-only.csv"), "time_ms,author\n").unwrap();
    fs::write(empty.path().join("no-time.csv"), "when,author\n1,a\n").unwrap();
    for (cwd, args, named) in [
        (empty.path(), &["--exit"][..], "repository"),
        (fresh.path(), &["--exit"], "commit"),
        (empty.path(), &["--exit", "--repo", "/nowhere/at/all"], "/nowhere/at/all"),
        (empty.path(), &["--exit", "--csv", "missing.csv"], "missing.csv"),
        (empty.path(), &["--exit", "--csv", "header-only.csv"], "header-only.csv"),
        (empty.path(), &["--exit", "--csv", "no-time.csv"], "--time"),
        (empty.path(), &["--exit", "--csv", "no-time.csv", "--time", "nope"], "nope"),
    ] {
        let output = demo(cwd, args);
        let said = text(&output);
        assert!(!output.status.success(), "{args:?} succeeded: {said}");
        assert!(said.contains(named) && !said.contains("panicked"), "{args:?}: no {named:?} in: {said}");
    }
}

#[test]
fn bad_rows_of_a_csv_are_reported_by_line_and_the_rest_is_loaded() {
    let dir = TempDir::new().unwrap();
    let csv = "ts,user,shop,amount,label\n1000,a,x,1.5,p\nnot-a-time,a,x,2,p\n2000,a,x,many,p\n3000,,x,3,p\n4000,b,x\n5000,\"a\",y,4,\"p, q\"\n";
    fs::write(dir.path().join("buys.csv"), csv).unwrap();
    let home = Home::new();
    let data = home.data();
    let output = demo(
        dir.path(),
        &[
            "--exit",
            "--csv",
            "buys.csv",
            "--dir",
            data.to_str().unwrap(),
            "--stream",
            "buys",
            "--time",
            "ts",
            "--entity",
            "user",
            "--entity",
            "shop:merchant",
            "--field",
            "amount=amount:FLOAT",
            "--field",
            "tag=label:STRING",
            "--windows",
            "1h all",
        ],
    );
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for line in ["line 3", "line 4", "line 6"] {
        assert!(said.contains(line), "no {line}: {said}");
    }
    let server = Launch::shards(1).start_in(home);
    let mut conn = server.connect();
    let mut row = |entity: &str| {
        let reply = conn.cmd(&format!("WINDOW.GET {entity} buys count:all sum(amount):all count(tag):all"));
        reply.into_elements().iter().map(windrow_tests::resp::Reply::text).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("user:a"), "2 5.5 2");
    assert_eq!(row("merchant:y"), "1 4 1");
}
