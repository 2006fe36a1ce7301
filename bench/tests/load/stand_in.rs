//! The null responder in the place of a server that the generator starts.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// A folder of a test's own, with a program in it that is called as Redis and Valkey are; it goes when this is dropped.
pub struct StandIn {
    folder: PathBuf,
}

impl StandIn {
    /// `lines` of a shell script are run before the responder takes its place; FOLDER in them is the folder.
    pub fn new(name: &str, lines: &str) -> Self {
        Self::slow(name, lines, 0)
    }

    /// One that takes so long for each command.
    pub fn slow(name: &str, lines: &str, service_us: u64) -> Self {
        let folder = std::env::temp_dir().join(format!("windrow-bench-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let stand_in = Self { folder };
        let script = format!(
            "#!/bin/sh\n{}\nexec {} null --service-us {service_us} --listen 127.0.0.1:$2\n",
            lines.replace("FOLDER", &stand_in.folder.to_string_lossy()),
            env!("CARGO_BIN_EXE_windrow-bench")
        );
        std::fs::write(stand_in.program(), script).unwrap();
        std::fs::set_permissions(stand_in.program(), std::fs::Permissions::from_mode(0o755)).unwrap();
        stand_in
    }

    pub fn program(&self) -> PathBuf {
        self.folder.join("redis")
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_windrow-bench"));
        command.args(line.split(' ')).arg("--redis-bin").arg(self.program()).current_dir(&self.folder);
        command
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
