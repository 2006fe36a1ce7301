//! Reads what `git log -z --numstat -M` prints, one NUL-terminated record at a time.
//!
//! ```text
//! 01 <hash> 02 <author's address> 02 <author time, s> NUL      a commit, by our own --format
//! LF? <added> TAB <deleted> TAB <path> NUL                     a file; both numbers are `-` when it is binary
//! LF? <added> TAB <deleted> TAB NUL <old path> NUL <new path> NUL    a rename
//! ```
//!
//! With -z git neither quotes paths nor folds renames into `{old => new}`, so that paths are the plain bytes of their
//! names, whatever their encoding.

use std::collections::BTreeMap;

/// The format to give to git.
pub(super) const FORMAT: &str = "--format=%x01%H%x02%aE%x02%at";

/// Folders of one commit that are told apart; what lies in others is not counted by folder.
const FOLDERS_MAX: usize = 1_000;

/// Lines and files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) files: u64,
    pub(super) added: u64,
    pub(super) deleted: u64,
}

/// A commit as the log tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) hash: Vec<u8>,
    pub(super) author: Vec<u8>,
    /// `None` when git has no sensible time for it.
    pub(super) time_ms: Option<i64>,
    pub(super) total: Change,
    /// By top folder; `.` for files at the top.
    pub(super) folders: BTreeMap<Vec<u8>, Change>,
}

/// Takes records; gives commits when they are whole.
#[derive(Debug, Default)]
pub(super) struct Numstat {
    commit: Option<Commit>,
    rename: Option<Rename>,
    /// Records that are neither a commit nor a file.
    strange: u64,
}

/// A rename's numbers, while its two paths are still to come.
#[derive(Debug)]
struct Rename {
    added: u64,
    deleted: u64,
    old_path_seen: bool,
}

impl Numstat {
    /// One record, without its NUL. A commit comes out when the next one begins.
    pub(super) fn record(&mut self, record: &[u8]) -> Option<Commit> {
        if let Some(mut rename) = self.rename.take() {
            if rename.old_path_seen {
                self.file(rename.added, rename.deleted, record);
            } else {
                rename.old_path_seen = true;
                self.rename = Some(rename);
            }
            return None;
        }
        let record = record.strip_prefix(b"\n").unwrap_or(record);
        if let Some(header) = record.strip_prefix(b"\x01") {
            return self.commit.replace(parse_header(header));
        }
        if record.is_empty() {
            return None;
        }
        let mut parts = record.splitn(3, |byte| *byte == b'\t');
        match (number(parts.next()), number(parts.next()), parts.next()) {
            (Some(added), Some(deleted), Some(b"")) => {
                self.rename = Some(Rename { added, deleted, old_path_seen: false });
            }
            (Some(added), Some(deleted), Some(path)) => self.file(added, deleted, path),
            _ => self.strange += 1,
        }
        None
    }

    /// The last commit, at the end of the log.
    pub(super) fn finish(&mut self) -> Option<Commit> {
        self.commit.take()
    }

    /// How many records were not understood.
    pub(super) fn strange(&self) -> u64 {
        self.strange
    }

    fn file(&mut self, added: u64, deleted: u64, path: &[u8]) {
        let Some(commit) = &mut self.commit else {
            self.strange += 1;
            return;
        };
        commit.total.count(added, deleted);
        let folder = match path.iter().position(|byte| *byte == b'/') {
            Some(end) => &path[..end],
            None => b".",
        };
        if commit.folders.len() < FOLDERS_MAX || commit.folders.contains_key(folder) {
            commit.folders.entry(folder.to_vec()).or_default().count(added, deleted);
        }
    }
}

impl Change {
    fn count(&mut self, added: u64, deleted: u64) {
        self.files += 1;
        self.added = self.added.saturating_add(added);
        self.deleted = self.deleted.saturating_add(deleted);
    }
}

fn parse_header(header: &[u8]) -> Commit {
    let mut parts = header.split(|byte| *byte == b'\x02');
    let hash = parts.next().unwrap_or_default().to_vec();
    let author = parts.next().unwrap_or_default().to_vec();
    let time_s = parts.next().and_then(|text| std::str::from_utf8(text).ok()?.parse::<i64>().ok());
    let time_ms = time_s.and_then(|time_s| time_s.checked_mul(1000));
    Commit { hash, author, time_ms, ..Commit::default() }
}

/// A number of lines; a binary file has none.
fn number(text: Option<&[u8]>) -> Option<u64> {
    match text? {
        b"-" => Some(0),
        text => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Commit, Numstat};

    fn parse(log: &[u8]) -> (Vec<Commit>, u64) {
        let mut numstat = Numstat::default();
        let records = log.strip_suffix(b"\0").unwrap_or(log).split(|byte| *byte == 0);
        let mut commits: Vec<Commit> = records.filter_map(|record| numstat.record(record)).collect();
        commits.extend(numstat.finish());
        (commits, numstat.strange())
    }

    fn change(files: u64, added: u64, deleted: u64) -> Change {
        Change { files, added, deleted }
    }

    #[test]
    fn commits_and_their_top_folders_are_told_apart() {
        let (commits, strange) = parse(
            b"\x01aa\x02ada@example.org\x021600000000\0\n1\t2\tsrc/a.rs\x0010\t0\tsrc/b/c.rs\x003\t4\tREADME\0\
              \x01bb\x02bob@example.org\x02-5\0\n7\t0\tdocs/x\0",
        );
        assert_eq!(strange, 0);
        assert_eq!(commits.len(), 2);
        assert_eq!(commits[0].author, b"ada@example.org");
        assert_eq!(commits[0].time_ms, Some(1_600_000_000_000));
        assert_eq!(commits[0].total, change(3, 14, 6));
        assert_eq!(commits[0].folders[&b"src"[..]], change(2, 11, 2));
        assert_eq!(commits[0].folders[&b"."[..]], change(1, 3, 4));
        assert_eq!((commits[1].time_ms, commits[1].total), (Some(-5000), change(1, 7, 0)));
    }

    #[test]
    fn a_rename_counts_in_its_new_folder() {
        let (commits, strange) = parse(
            b"\x01aa\x02a\x021\0\n2\t1\t\0old/name\0new/name\x005\t5\tother/x\0\x01bb\x02b\x022\0\n0\t0\t\0x/1\0y/1\0",
        );
        assert_eq!(strange, 0);
        let folders: Vec<_> =
            commits[0].folders.iter().map(|(name, change)| (name.as_slice(), *change)).collect();
        assert_eq!(folders, [(&b"new"[..], change(1, 2, 1)), (b"other", change(1, 5, 5))]);
        assert_eq!(commits[1].folders[&b"y"[..]], change(1, 0, 0));
    }

    #[test]
    fn a_path_that_looks_like_a_folded_rename_is_a_path() {
        let (commits, _) = parse(b"\x01aa\x02a\x021\0\n1\t1\t{a => b}/c\0");
        assert_eq!(commits[0].folders[&b"{a => b}"[..]], change(1, 1, 1));
    }

    #[test]
    fn a_binary_file_is_a_file_of_no_lines() {
        let (commits, strange) = parse(b"\x01aa\x02a\x021\0\n-\t-\timage.png\0-\t-\t\0a/x.png\0b/x.png\0");
        assert_eq!((strange, commits[0].total), (0, change(2, 0, 0)));
        assert_eq!(commits[0].folders[&b"b"[..]], change(1, 0, 0));
    }

    #[test]
    fn paths_are_any_bytes() {
        let (commits, strange) = parse(b"\x01aa\x02a\x021\0\n1\t0\tcaf\xe9/\xff\x001\t0\t\ttab\nline/x\0");
        assert_eq!(strange, 0);
        let folders: Vec<&[u8]> = commits[0].folders.keys().map(Vec::as_slice).collect();
        assert_eq!(folders, [&b"\ttab\nline"[..], b"caf\xe9"]);
    }

    #[test]
    fn a_commit_without_files_is_a_commit() {
        let (commits, strange) = parse(b"\x01aa\x02a\x021\0\x01bb\x02b\x022\0\x01cc\x02\xff\x02\0");
        assert_eq!((strange, commits.len()), (0, 3));
        assert_eq!(commits[1].total, Change::default());
        assert_eq!((commits[2].author.as_slice(), commits[2].time_ms), (&b"\xff"[..], None));
    }

    #[test]
    fn what_is_no_record_is_counted() {
        let (commits, strange) = parse(b"warning: something\0\x01aa\x02a\x021\0\nx\ty\tz\x001\t1\0");
        assert_eq!((commits.len(), strange), (1, 3));
    }
}
