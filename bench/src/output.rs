//! Where results go: standard output, whose reader may be gone, and files, which are known to be writable before the load starts and
//! take the place of older ones in one step.

use crate::error::BenchError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The file that is being written and is not whole yet.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Removes a file that is not whole, for a program that ends amid writing it. As long as what this gives is held, no other is begun.
pub(crate) fn remove_unfinished() -> Option<MutexGuard<'static, Option<PathBuf>>> {
    // Locked: it is just being made, which may take for ever.
    let mut unfinished = UNFINISHED.try_lock().ok()?;
    if let Some(path) = unfinished.take() {
        let _ = fs::remove_file(path);
    }
    Some(unfinished)
}

/// Prints on standard output.
///
/// # Errors
///
/// Nobody reads it any more ([`BenchError::ReaderGone`]), or it cannot be written.
pub fn print(text: &str) -> Result<(), BenchError> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => BenchError::ReaderGone,
        _ => BenchError::io("write to standard output")(error),
    })
}

/// A file that results will be written to.
#[derive(Debug)]
pub struct OutFile {
    /// As it was named.
    named: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A file, new or old, and what it is written to before it is whole.
    File { path: PathBuf, unfinished: PathBuf },
    /// A device, a pipe, or what another program has opened for this one: there is nothing whose place could be taken. It stays open,
    /// so that who reads a pipe sees its end when the results have come.
    Stream(File),
}

/// Most links that lead from one to the next.
const LINKS_MAX: usize = 40;

impl OutFile {
    /// A file, if one is named.
    ///
    /// # Errors
    ///
    /// As [`OutFile::check`].
    pub fn check_named(path: Option<&Path>) -> Result<Option<Self>, BenchError> {
        path.map(Self::check).transpose()
    }

    /// Sees to it that the file can be written; leaves it as it is.
    ///
    /// # Errors
    ///
    /// It cannot.
    pub fn check(path: &Path) -> Result<Self, BenchError> {
        Self::checked(path)
            .map_err(BenchError::io(format!("results cannot be written to {}", path.display())))
    }

    fn checked(path: &Path) -> io::Result<Self> {
        let named = path.to_path_buf();
        if let Some(stream) = opened_already(path)? {
            return Ok(Self { named, target: Target::Stream(stream) });
        }
        let is_there = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                let stream = OpenOptions::new().write(true).open(path)?;
                return Ok(Self { named, target: Target::Stream(stream) });
            }
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        // Where it is a link, what it leads to is replaced or made, and not the link.
        let path = if is_there { fs::canonicalize(path)? } else { end_of_links(path)? };
        if is_there {
            OpenOptions::new().write(true).open(&path)?;
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy().into_owned();
        let unfinished = path.with_file_name(format!(".{name}.{}", std::process::id()));
        // Nothing stays behind if this program is ended before there are results.
        File::create(&unfinished)?;
        fs::remove_file(&unfinished)?;
        Ok(Self { named, target: Target::File { path, unfinished } })
    }

    /// Writes the whole file, or leaves the one that is there.
    ///
    /// # Errors
    ///
    /// It can no longer be written; or it is standard output, and nobody reads that any more ([`BenchError::ReaderGone`]).
    pub fn write(&self, text: &str) -> Result<(), BenchError> {
        let written = match &self.target {
            Target::Stream(stream) => {
                let mut stream: &File = stream;
                stream.write_all(text.as_bytes())
            }
            Target::File { path, unfinished } => {
                replace(path, unfinished, text).inspect_err(|_| drop(fs::remove_file(unfinished)))
            }
        };
        written.map_err(|error| match (&self.target, error.kind()) {
            (Target::Stream(stream), io::ErrorKind::BrokenPipe) if is_standard_output(stream) => {
                BenchError::ReaderGone
            }
            _ => BenchError::io(format!("write {}", self.named.display()))(error),
        })
    }

    /// Its name, as it was given.
    pub fn named(&self) -> &Path {
        &self.named
    }
}

/// Writes a file that takes the place of another, with its permissions, once it is whole and on the disk.
fn replace(path: &Path, unfinished: &Path, text: &str) -> io::Result<()> {
    let mut file = {
        let mut noted = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = Some(unfinished.to_path_buf());
        File::create(unfinished)?
    };
    match fs::metadata(path) {
        Ok(older) => file.set_permissions(older.permissions())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

/// What this program was started with, if a path names it by its number: a file among them has its own place, from which others go on.
fn opened_already(path: &Path) -> io::Result<Option<File>> {
    let path = std::path::absolute(path)?;
    let of_folder = |folder: &str| path.strip_prefix(folder).ok()?.to_str();
    let name = match path.to_str() {
        Some("/dev/stdout") => "1",
        Some("/dev/stderr") => "2",
        _ => match of_folder("/dev/fd").or_else(|| of_folder("/proc/self/fd")) {
            Some(number) => number,
            None => return Ok(None),
        },
    };
    Ok(Some(match name {
        "1" => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        "2" => File::from(io::stderr().as_fd().try_clone_to_owned()?),
        _ => OpenOptions::new().append(true).open(path)?,
    }))
}

/// Whether two names lead to the same pipe.
fn is_standard_output(stream: &File) -> bool {
    let place =
        |fd: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    place(stream.as_fd()).is_some_and(|of| place(io::stdout().as_fd()) == Some(of))
}

/// Where a path leads that may be a link to what is not there.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or(Path::new("/")).join(next),
            // No link (EINVAL), or nothing.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

/// Refuses files of which two are one.
///
/// # Errors
///
/// Two are.
pub fn refuse_one_twice<'a>(files: impl IntoIterator<Item = &'a OutFile>) -> Result<(), BenchError> {
    let mut taken: Vec<&Path> = Vec::new();
    for file in files {
        let Target::File { path, .. } = &file.target else { continue };
        if taken.contains(&path.as_path()) {
            return Err(BenchError::Settings(format!(
                "{} is named for two kinds of results; name another file for one of them",
                file.named.display()
            )));
        }
        taken.push(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("windrow-bench-test-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_check_leaves_nothing_behind_and_harms_nothing() {
        let folder = folder("check");
        let old = folder.join("old.json");
        fs::write(&old, "old").unwrap();
        OutFile::check(&old).unwrap();
        OutFile::check(&folder.join("new.json")).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn results_take_the_place_of_older_ones_in_one_step() {
        let folder = folder("step");
        let (path, link) = (folder.join("results.json"), folder.join("link"));
        fs::write(&path, "the older ones").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for named in [&path, &link] {
            // Whoever reads the file meanwhile reads the whole of what it was.
            let mut reader = File::open(&path).unwrap();
            let before = fs::read_to_string(&path).unwrap();
            OutFile::check(named).unwrap().write(&format!("newer by {}", named.display())).unwrap();
            let mut read = String::new();
            reader.read_to_string(&mut read).unwrap();
            assert_eq!(read, before);
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("newer by {}", named.display()));
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_pipe_is_opened_once_and_read_to_its_end() {
        let folder = folder("pipe");
        let path = folder.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let named = path.clone();
        let reader = std::thread::spawn(move || fs::read_to_string(named).unwrap());
        let file = OutFile::check(&path).unwrap();
        file.write("results").unwrap();
        drop(file);
        assert_eq!(reader.join().unwrap(), "results");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn permissions_of_the_older_file_stay_and_a_link_to_nothing_leads_to_the_new_one() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder("links");
        let (old, link, new) = (folder.join("old"), folder.join("link"), folder.join("new"));
        fs::write(&old, "older").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
        OutFile::check(&old).unwrap().write("newer").unwrap();
        assert_eq!(fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o640);
        std::os::unix::fs::symlink("new", &link).unwrap();
        OutFile::check(&link).unwrap().write("newer").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&new).unwrap(), "newer");
        // Of a ring of links there is no end.
        let ring = folder.join("ring");
        std::os::unix::fs::symlink("ring", &ring).unwrap();
        assert!(OutFile::check(&ring).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        OutFile::check(Path::new("/dev/null")).unwrap().write("results").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn what_cannot_be_written_is_refused_by_its_name() {
        let folder = folder("refused");
        for path in [folder.clone(), folder.join("none/results.json"), PathBuf::from("/proc/results.json")] {
            let error = OutFile::check(&path).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        let (one, other) = (folder.join("a.csv"), folder.join("./a.csv"));
        let files = [OutFile::check(&one).unwrap(), OutFile::check(&other).unwrap()];
        assert!(refuse_one_twice(&files).is_err() && refuse_one_twice(&files[..1]).is_ok());
        fs::remove_dir_all(&folder).unwrap();
    }
}
