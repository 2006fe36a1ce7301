//! The history of a git repository as a source: one event for the author of each commit, and one for each top folder
//! that it touches.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};
use windrow_client::FieldType;

use super::error::DemoError;
use super::numstat::{Change, Commit, FORMAT, Numstat};
use super::source::{Field, LeftOut, Position, Sample, Source};

/// Longest record of git's output: far above any path; what is longer is no git log.
const RECORD_BYTES_MAX: u64 = 1 << 20;
/// How much of git's own complaint is repeated.
const SAID_BYTES_MAX: u64 = 4_096;
/// Hex digits of an author's hash: 48 bits tell a million authors apart.
const AUTHOR_DIGITS: usize = 12;

/// `git log`, running.
pub(super) struct GitHistory {
    path: PathBuf,
    child: Child,
    output: BufReader<ChildStdout>,
    complaints: Option<JoinHandle<String>>,
    numstat: Numstat,
    fields: Vec<Field>,
    /// Commits at the cut of a shallow clone: git shows all their files as added.
    cut: HashSet<Vec<u8>>,
    /// Makes the hashes of this repository's authors unlike those of any other: its first commit.
    salt: Option<Vec<u8>>,
    at_cut: u64,
    position: Position,
    left_out: LeftOut,
}

impl GitHistory {
    /// Starts `git log` in a repository that has commits.
    pub(super) fn open(path: &Path) -> Result<GitHistory, DemoError> {
        let not_a_repository = |said| DemoError::NotARepository { path: path.to_owned(), said };
        ask(path, &["rev-parse", "--git-dir"])?.map_err(not_a_repository)?;
        let Ok(_) = ask(path, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])? else {
            return Err(DemoError::EmptyHistory { path: path.to_owned(), shallow: false });
        };
        let total =
            ask(path, &["rev-list", "--count", "--no-merges", "HEAD"])?.map_err(DemoError::GitFailed)?;
        let total = total.trim().parse().unwrap_or(0);
        let cut = cut_of_shallow_clone(path)?;
        if total <= cut.len() as u64 {
            let shallow = !cut.is_empty();
            return Err(DemoError::EmptyHistory { path: path.to_owned(), shallow });
        }
        let mut child = git(path)
            .args(["log", "--reverse", "--no-merges", "--no-color", "--no-ext-diff", "--no-textconv"])
            .args(["--no-show-signature", "-z", "-M", "--numstat", FORMAT, "HEAD", "--"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| DemoError::GitMissing(error.to_string()))?;
        let output = child.stdout.take().expect("standard output is piped");
        let errors = child.stderr.take().expect("standard error is piped");
        // Read beside the output, so that neither pipe fills up and stops git.
        let complaints = std::thread::spawn(move || read_complaints(errors));
        let int = |name: &str| Field { name: name.to_owned(), kind: FieldType::Int };
        Ok(GitHistory {
            path: path.to_owned(),
            child,
            output: BufReader::new(output),
            complaints: Some(complaints),
            numstat: Numstat::default(),
            fields: vec![int("files"), int("added"), int("deleted")],
            cut,
            salt: None,
            at_cut: 0,
            position: Position { done: 0, total },
            left_out: LeftOut::default(),
        })
    }

    fn next_commit(&mut self) -> Result<Option<Commit>, DemoError> {
        let mut record = Vec::new();
        loop {
            record.clear();
            let limited = &mut (&mut self.output).take(RECORD_BYTES_MAX);
            let read = limited
                .read_until(0, &mut record)
                .map_err(|error| DemoError::GitFailed(error.to_string()))?;
            if read == 0 {
                return Ok(self.numstat.finish());
            }
            if record.pop() != Some(0) {
                return Err(DemoError::GitFailed("its output ends in the middle of a record".to_owned()));
            }
            if let Some(commit) = self.numstat.record(&record) {
                return Ok(Some(commit));
            }
        }
    }

    /// Whether git ended well, once its output has ended.
    fn end(&mut self) -> Result<(), DemoError> {
        let Some(complaints) = self.complaints.take() else { return Ok(()) };
        let said = complaints.join().unwrap_or_default();
        let status = self.child.wait().map_err(|error| DemoError::GitFailed(error.to_string()))?;
        if !status.success() {
            return Err(DemoError::GitFailed(if said.is_empty() { status.to_string() } else { said }));
        }
        if self.at_cut > 0 {
            let commits = self.at_cut;
            self.left_out.add(|| {
                format!(
                    "{commits} at the cut of this shallow clone, where git shows every file as new (git fetch --unshallow)"
                )
            });
        }
        if self.numstat.strange() > 0 {
            let records = self.numstat.strange();
            self.left_out.add(|| format!("{records} records of git's output that are no commit and no file"));
        }
        Ok(())
    }

    fn samples(&mut self, commit: &Commit, out: &mut Vec<Sample>) {
        let salt = self.salt.get_or_insert_with(|| commit.hash.clone());
        if self.cut.contains(&commit.hash) {
            self.at_cut += 1;
            return;
        }
        let Some(time_ms) = commit.time_ms else {
            let hash = String::from_utf8_lossy(&commit.hash).into_owned();
            self.left_out.add(|| format!("commit {hash}: git has no author time for it"));
            return;
        };
        let origin = self.position.done;
        let mut push = |entity: Vec<u8>, change: &Change| {
            let values = [change.files, change.added, change.deleted];
            let values = values.iter().map(|value| Some(value.to_string().into_bytes())).collect();
            out.push(Sample { entity, time_ms, values, origin });
        };
        push(format!("author:{}", author_hash(salt, &commit.author)).into_bytes(), &commit.total);
        for (folder, change) in &commit.folders {
            push([b"path:", folder.as_slice()].concat(), change);
        }
    }
}

impl Source for GitHistory {
    fn title(&self) -> String {
        format!("the history of {}", fs::canonicalize(&self.path).unwrap_or(self.path.clone()).display())
    }

    fn origin_name(&self) -> &'static str {
        "commit"
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn headline_entity(&self) -> &str {
        "author"
    }

    fn headline_count(&self) -> &'static str {
        "commits"
    }

    fn next_row(&mut self, out: &mut Vec<Sample>) -> Result<bool, DemoError> {
        let Some(commit) = self.next_commit()? else {
            self.end()?;
            return Ok(false);
        };
        self.position.done += 1;
        self.samples(&commit, out);
        Ok(true)
    }

    fn position(&self) -> Position {
        self.position
    }

    fn left_out(&self) -> &LeftOut {
        &self.left_out
    }
}

impl Drop for GitHistory {
    fn drop(&mut self) {
        // Ended early, by an error or Ctrl-C: git must not write on into a closed pipe.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A git command that neither the user's settings of colours nor a pager can change.
fn git(path: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(path).args([
        "--no-pager",
        "-c",
        "log.showSignature=false",
        "-c",
        "core.quotePath=true",
    ]);
    command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null());
    command
}

/// A short question: its answer, or what git said instead.
fn ask(path: &Path, args: &[&str]) -> Result<Result<String, String>, DemoError> {
    let output = git(path).args(args).output().map_err(|error| DemoError::GitMissing(error.to_string()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

/// The commits whose parents a shallow clone does not have.
fn cut_of_shallow_clone(path: &Path) -> Result<HashSet<Vec<u8>>, DemoError> {
    let file = ask(path, &["rev-parse", "--git-path", "shallow"])?.map_err(DemoError::GitFailed)?;
    // Git answers relative to where it ran.
    let hashes = fs::read(path.join(file)).unwrap_or_default();
    let lines = hashes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(<[u8]>::to_vec).collect())
}

fn read_complaints(errors: impl Read) -> String {
    let mut errors = errors;
    let mut said = Vec::new();
    let _ = (&mut errors).take(SAID_BYTES_MAX).read_to_end(&mut said);
    let _ = std::io::copy(&mut errors, &mut std::io::sink());
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// Stands for an author without showing the address: salted and short, the same for the same address.
fn author_hash(salt: &[u8], address: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update([0]);
    hasher.update(address.to_ascii_lowercase());
    let digest = hasher.finalize();
    digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(AUTHOR_DIGITS).map(hex_digit).collect()
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).expect("a nibble is a hex digit")
}

#[cfg(test)]
mod tests {
    use super::{AUTHOR_DIGITS, GitHistory, author_hash};
    use crate::demo::error::DemoError;

    #[test]
    fn an_author_is_one_entity_whatever_the_case_of_the_address() {
        let hash = author_hash(b"first commit", b"Ada@Example.org");
        assert_eq!(hash, author_hash(b"first commit", b"ada@example.org"));
        assert_ne!(hash, author_hash(b"other repository", b"ada@example.org"));
        assert_ne!(hash, author_hash(b"first commit", b"bob@example.org"));
        assert!(hash.len() == AUTHOR_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    }

    #[test]
    fn a_path_without_repository_is_named() {
        let error = GitHistory::open("/nowhere/at/all".as_ref()).err().expect("there is no such path");
        assert!(matches!(error, DemoError::NotARepository { .. }), "{error}");
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
