//! File systems of our own: images behind loop devices, whose power can be cut, and memory of a few MiB, which is soon full.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// No command of ours takes so long, unless the kernel hangs.
const COMMAND_SECONDS_MAX: &str = "60";

/// What kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ext4 image.
    Ext4,
    /// An XFS image.
    Xfs,
    /// Memory.
    Tmpfs,
}

impl Kind {
    /// Its name for `mount -t`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Tmpfs => "tmpfs",
        }
    }

    /// The smallest that its mkfs makes, or that is of use.
    fn smallest_bytes(self) -> u64 {
        match self {
            Kind::Ext4 => 16 << 20,
            Kind::Xfs => 320 << 20,
            Kind::Tmpfs => 1 << 20,
        }
    }
}

/// What a power cut does about the journal that is still in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It is gone too.
    WithoutJournal,
    /// It reaches the disk, but no data does.
    AfterJournal,
}

/// A mounted file system; gone when dropped.
#[derive(Debug)]
pub struct Mount {
    dir: TempDir,
    kind: Kind,
}

impl Mount {
    /// Makes and mounts one. The error says what the machine does not allow.
    pub fn new(kind: Kind, bytes: u64) -> io::Result<Mount> {
        let dir = TempDir::with_prefix("windrow-disk-")?;
        let mount = Mount { dir, kind };
        fs::create_dir(mount.point())?;
        match kind {
            Kind::Tmpfs => {
                run(Command::new("mount")
                    .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "windrow-test"])
                    .arg(mount.point()))?;
            }
            Kind::Ext4 | Kind::Xfs => {
                File::create_new(mount.image())?.set_len(bytes)?;
                let quiet: &[&str] = if kind == Kind::Ext4 { &["-q", "-F"] } else { &["-q"] };
                run(Command::new(format!("mkfs.{}", kind.name())).args(quiet).arg(mount.image()))?;
                mount.mount()?;
            }
        }
        Ok(mount)
    }

    /// Where it is mounted.
    pub fn point(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount(&self) -> io::Result<()> {
        run(Command::new("mount")
            .args(["-t", self.kind.name(), "-o", "loop"])
            .arg(self.image())
            .arg(self.point()))
    }

    /// From now on nothing reaches the disk: what was not synced and not yet written back is lost.
    pub fn cut_power(&self, cut: Cut) -> io::Result<()> {
        let shutdown = if cut == Cut::AfterJournal { "shutdown -f" } else { "shutdown" };
        run(Command::new("xfs_io").args(["-x", "-c", shutdown]).arg(self.point()))
    }

    /// Power comes back: what the disk has is mounted, which replays the journal. Nobody may have a file open.
    pub fn come_back(&self) -> io::Result<()> {
        run(Command::new("umount").arg(self.point()))?;
        self.mount()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a server that is still there must not keep the directory from going.
        let _ = run(Command::new("umount").arg("-l").arg(self.point()));
    }
}

/// Whether such a file system can be made and mounted here, and, where it has a disk, its power be cut. The error says what is missing.
pub fn available(kind: Kind) -> io::Result<()> {
    let mount = Mount::new(kind, kind.smallest_bytes())?;
    if kind == Kind::Tmpfs {
        return Ok(());
    }
    mount.cut_power(Cut::WithoutJournal)?;
    mount.come_back()
}

/// Writes zeros until the file system is full, but for `left_bytes`.
pub fn fill(path: &Path, left_bytes: u64) -> io::Result<()> {
    use io::Write;
    let mut ballast = File::create_new(path)?;
    let zeros = vec![0; 64 << 10];
    let mut written = 0;
    loop {
        match ballast.write(&zeros) {
            Ok(bytes) => written += bytes as u64,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
            Err(error) => return Err(error),
        }
    }
    // Where blocks are found late, a full disk shows at the sync.
    match ballast.sync_all() {
        Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(error),
        _ => {}
    }
    ballast.set_len(written.saturating_sub(left_bytes))
}

/// Runs a command of the system to its end, bounded in time; the error has what it said.
fn run(command: &mut Command) -> io::Result<()> {
    let mut bounded = Command::new("timeout");
    bounded.arg(COMMAND_SECONDS_MAX).arg(command.get_program()).args(command.get_args());
    let path = std::env::var("PATH").unwrap_or_default();
    bounded.env("PATH", format!("{path}:/usr/sbin:/sbin")).stdin(Stdio::null());
    let output = bounded.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?} ended with {}: {}", output.status, said.trim())))
}
