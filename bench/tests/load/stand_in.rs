//! The null responder in the place of a server that the generator starts.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of a test's own, with a program in it that is called as Redis and Valkey are; it goes when this is dropped.
pub struct StandIn {
    folder: PathBuf,
    program: PathBuf,
}

impl StandIn {
    /// `lines` of a shell script are run before the responder takes its place; FOLDER in them is the folder.
    pub fn new(name: &str, lines: &str) -> Self {
        Self::with(name, "redis", lines, 0)
    }

    /// One that takes so long for each command.
    pub fn slow(name: &str, lines: &str, service_us: u64) -> Self {
        Self::with(name, "redis", lines, service_us)
    }

    /// One whose program has a name that is looked for on the PATH.
    pub fn called(program: &str, lines: &str) -> Self {
        Self::with(&format!("called-{program}"), program, lines, 0)
    }

    fn with(name: &str, program: &str, lines: &str, service_us: u64) -> Self {
        let name = format!("windrow-bench-test-{}-{name}", std::process::id());
        // Servers are started in directories of their own.
        let folder = std::path::absolute(std::env::temp_dir().join(name)).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let stand_in = Self { program: folder.join(program), folder };
        let script = format!(
            "#!/bin/sh\n{}\nexec {} null --service-us {service_us} --listen 127.0.0.1:$2\n",
            lines.replace("FOLDER", &quoted(&stand_in.folder)),
            quoted(Path::new(env!("CARGO_BIN_EXE_windrow-bench")))
        );
        std::fs::write(&stand_in.program, script).unwrap();
        std::fs::set_permissions(&stand_in.program, std::fs::Permissions::from_mode(0o755)).unwrap();
        stand_in
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a file in the folder says; nothing, if there is none.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A file in the folder as JSON.
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    /// The generator, with this in the place of Redis, in its folder.
    pub fn windrow_bench(&self, line: &str) -> Command {
        let mut command = self.windrow_bench_with_path(line);
        command.arg("--redis-bin").arg(&self.program);
        command
    }

    /// The generator in the folder, which is the first of its PATH.
    pub fn windrow_bench_with_path(&self, line: &str) -> Command {
        // These tests may themselves run where SIGHUP is ignored, which is inherited.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_windrow-bench")]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.folder.clone()).chain(std::env::split_paths(&path));
        command.args(line.split(' ')).env("PATH", std::env::join_paths(folders).unwrap());
        command.current_dir(&self.folder);
        command
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
