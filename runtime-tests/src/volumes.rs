//! The volumes of a case, from outside: the `volume` commands, and the files of the store.

use crate::{Case, Outcome};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

impl Case {
    /// `volume <words…>`.
    #[track_caller]
    pub fn volume(&self, words: &[&str]) -> Outcome {
        self.invoke(&[&["volume"], words].concat())
    }

    /// The names that `volume ls -q` shows.
    #[track_caller]
    pub fn volume_names(&self) -> Vec<String> {
        self.volume(&["ls", "-q"]).ok().stdout.lines().map(str::to_owned).collect()
    }

    /// Where the data of a volume is.
    pub fn data(&self, name: &str) -> PathBuf {
        self.volume_root().join(name).join("_data")
    }

    /// The text of a file in a volume; empty when it does not exist.
    pub fn read_data(&self, name: &str, file: &str) -> String {
        fs::read_to_string(self.data(name).join(file)).unwrap_or_default()
    }

    /// The containers and commands that a volume is registered for.
    pub fn users(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.volume_root().join(name).join("refs")).into_iter().flatten().flatten();
        let mut users: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        users.sort();
        users
    }

    /// What is in the store and is no volume: what killed commands left.
    pub fn debris(&self) -> Vec<String> {
        let entries = fs::read_dir(self.volume_root()).into_iter().flatten().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with('.')).collect()
    }

    /// `create` or `run` of another container with the same config and root filesystem, in a cgroup of its own.
    #[track_caller]
    pub fn other(&self, subcommand: &str, id: &str, flags: &[&str]) -> Command {
        self.also_delete(id);
        let bundle = self.dir.join(format!("bundle-{id}"));
        fs::create_dir_all(&bundle).expect("make a bundle");
        let mut config = self.config.clone();
        config["root"]["path"] = self.rootfs().to_string_lossy().into();
        config["linux"]["cgroupsPath"] = format!("/{}-{id}", self.token).into();
        fs::write(bundle.join("config.json"), config.to_string()).expect("write config.json");
        let mut command = self.command();
        command.arg(subcommand).arg("--bundle").arg(bundle).args(flags).arg(id);
        command
    }

    /// An id for another container of this case.
    pub fn other_id(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.id)
    }
}
