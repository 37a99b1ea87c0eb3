//! Who is measured: a runtime with runc's command line, or the floor program, which only knows `run` and `exec`.

use crate::cases::Profile;
use crate::place::Place;
use crate::sys::Command;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Runtime,
    Floor,
}

#[derive(Clone, Debug)]
pub struct Contestant {
    pub name: String,
    pub kind: Kind,
    path: PathBuf,
}

/// One container's names.
pub struct Names {
    pub id: String,
    pub bundle: PathBuf,
    /// From the root of each hierarchy.
    pub cgroup: String,
    pub pid_file: PathBuf,
}

impl Contestant {
    pub fn new(name: &str, kind: Kind, path: &Path) -> Contestant {
        Contestant { name: name.to_owned(), kind, path: path.to_owned() }
    }

    /// The first line of `--version`.
    pub fn version(&self) -> String {
        if self.kind == Kind::Floor {
            return "raw syscalls".into();
        }
        match std::process::Command::new(&self.path).arg("--version").output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("no version").to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn runtime(&self, place: &Place, words: &[&str]) -> Result<Command> {
        let root = place.dir.join("state").join(&self.name);
        std::fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
        let front = [self.path.clone().into_os_string(), "--root".into(), root.into_os_string()];
        Command::new(front.into_iter().chain(words.iter().map(OsString::from)))
    }

    fn floor(&self, words: &[&str]) -> Result<Command> {
        Command::new(std::iter::once(self.path.clone().into_os_string()).chain(words.iter().map(OsString::from)))
    }

    /// The command that runs a container in the foreground to its end.
    pub fn run(&self, place: &Place, names: &Names, profile: Profile) -> Result<Command> {
        match self.kind {
            Kind::Runtime => self.runtime(place, &["run", "--bundle", &text(&names.bundle), &names.id]),
            Kind::Floor => self.floor_run(place, names, profile, &["/bin/true"]),
        }
    }

    /// The command that runs a container whose config also limits its memory.
    pub fn run_limited(&self, place: &Place, names: &Names, profile: Profile, bytes: u64) -> Result<Command> {
        match self.kind {
            Kind::Runtime => self.run(place, names, profile),
            Kind::Floor => self.floor_with(place, names, profile, &format!("@{bytes}"), &["/bin/true"]),
        }
    }

    /// The floor's `run` with a payload of its own.
    pub fn floor_run(&self, place: &Place, names: &Names, profile: Profile, payload: &[&str]) -> Result<Command> {
        self.floor_with(place, names, profile, "", payload)
    }

    fn floor_with(
        &self,
        place: &Place,
        names: &Names,
        profile: Profile,
        limit: &str,
        payload: &[&str],
    ) -> Result<Command> {
        let binds = match profile {
            Profile::Binds => format!("{}:{}", text(&place.dir.join("sources")), crate::cases::BINDS),
            Profile::Minimal | Profile::Docker => "-".into(),
        };
        let profile = format!("{}{limit}", if profile == Profile::Docker { "docker" } else { "minimal" });
        let (rootfs, filter) = (text(&place.rootfs), text(&place.dir.join("filter.bpf")));
        let words = ["run", &profile, &rootfs, &self.hierarchies(place), &names.cgroup, &filter, &binds];
        self.floor(&[&words, payload].concat())
    }

    /// The command that runs /bin/true in the running container whose first process is `init`.
    pub fn exec(&self, place: &Place, names: &Names, profile: Profile, init: i32) -> Result<Command> {
        match self.kind {
            Kind::Runtime => self.runtime(place, &["exec", &names.id, "/bin/true"]),
            Kind::Floor => {
                let profile = if profile == Profile::Docker { "docker" } else { "minimal" };
                let filter = text(&place.dir.join("filter.bpf"));
                let (hierarchies, init) = (self.hierarchies(place), init.to_string());
                self.floor(&["exec", profile, &init, &hierarchies, &names.cgroup, &filter, "/bin/true"])
            }
        }
    }

    pub fn create(&self, place: &Place, names: &Names) -> Result<Command> {
        let (bundle, pid_file) = (text(&names.bundle), text(&names.pid_file));
        self.runtime(place, &["create", "--bundle", &bundle, "--pid-file", &pid_file, &names.id])
    }

    /// As [`Contestant::create`], with a volume. Of rvol-runc alone.
    pub fn create_with_volume(&self, place: &Place, names: &Names, store: &Path, volume: &str) -> Result<Command> {
        let (bundle, store) = (text(&names.bundle), text(store));
        self.runtime(place, &["--volume-root", &store, "create", "--bundle", &bundle, "-v", volume, &names.id])
    }

    pub fn start(&self, place: &Place, names: &Names) -> Result<Command> {
        self.runtime(place, &["start", &names.id])
    }

    pub fn state(&self, place: &Place, names: &Names) -> Result<Command> {
        self.runtime(place, &["state", &names.id])
    }

    pub fn kill(&self, place: &Place, names: &Names) -> Result<Command> {
        self.runtime(place, &["kill", &names.id, "KILL"])
    }

    pub fn delete(&self, place: &Place, names: &Names) -> Result<Command> {
        self.runtime(place, &["delete", &names.id])
    }

    /// For what a failed round has left.
    pub fn delete_by_force(&self, place: &Place, names: &Names) -> Result<Option<Command>> {
        match self.kind {
            Kind::Runtime => self.runtime(place, &["delete", "--force", &names.id]).map(Some),
            Kind::Floor => Ok(None),
        }
    }

    fn hierarchies(&self, place: &Place) -> String {
        place.hierarchies.iter().map(|h| text(h)).collect::<Vec<_>>().join(",")
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
