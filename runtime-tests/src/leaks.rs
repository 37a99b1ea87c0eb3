//! What a container left behind. Everything of a case carries its token in some name, which is what is searched for.

use crate::waiting;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Processes other than this one that run in the case's cgroup, hold mounts of its directory, or name it in their
/// arguments. Zombies do not count: whoever is their parent has yet to look.
pub fn processes(token: &str) -> Vec<(i32, String)> {
    let own = std::process::id() as i32;
    let own_mounts = fs::read_link("/proc/thread-self/ns/mnt").ok();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        if pid == own {
            continue;
        }
        let process = entry.path();
        let read = |file: &str| fs::read(process.join(file)).map(|b| String::from_utf8_lossy(&b).into_owned());
        let arguments = read("cmdline").unwrap_or_default().replace('\0', " ");
        let foreign = || fs::read_link(process.join("ns/mnt")).ok() != own_mounts;
        let ours = arguments.contains(token)
            || read("cgroup").is_ok_and(|t| t.contains(token))
            || (foreign() && read("mountinfo").is_ok_and(|t| t.contains(token)));
        if ours && !is_zombie(&read("stat").unwrap_or_default()) {
            found.push((pid, arguments));
        }
    }
    found
}

/// True while the process exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).map(|b| String::from_utf8_lossy(&b).into_owned());
    stat.is_ok_and(|s| !is_zombie(&s))
}

fn is_zombie(stat: &str) -> bool {
    // The state follows the command's name, which is in parentheses and may itself contain some.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    matches!(state, None | Some(Some('Z' | 'X') | None))
}

/// Mount points of the calling thread's mount namespace that name the case, innermost first.
pub fn mounts(token: &str) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> =
        text.lines().filter(|l| l.contains(token)).filter_map(|l| l.split(' ').nth(4)).map(PathBuf::from).collect();
    found.reverse();
    found
}

/// Cgroup directories that name the case, innermost first.
pub fn cgroups(token: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect_cgroups(Path::new("/sys/fs/cgroup"), token, 4, &mut found);
    found
}

fn collect_cgroups(directory: &Path, token: &str, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        let path = entry.path();
        let inside = path.to_string_lossy().contains(token);
        if depth > 0 || inside {
            collect_cgroups(&path, token, depth.saturating_sub(1), found);
        }
        if inside {
            found.push(path);
        }
    }
}

/// Entries of the state root that name the case's container.
pub fn state(root: &Path, id: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_string_lossy().contains(id)).map(|e| e.path()).collect()
}

/// A line for each thing that is left.
pub fn all(token: &str, root: &Path, id: &str, expected_mounts: &BTreeSet<PathBuf>) -> Vec<String> {
    let mut lines: Vec<String> = processes(token).into_iter().map(|(p, a)| format!("process {p}: {a}")).collect();
    let mounts = mounts(token).into_iter().filter(|m| !expected_mounts.contains(m));
    lines.extend(mounts.map(|m| format!("mount {}", m.display())));
    lines.extend(cgroups(token).into_iter().map(|c| format!("cgroup {}", c.display())));
    lines.extend(state(root, id).into_iter().map(|s| format!("state {}", s.display())));
    lines
}

/// Takes away by force what [`all`] names, except state. For the end of a test that failed or that broke something.
pub fn clean(token: &str) {
    waiting::until(Duration::from_secs(2), || {
        let processes = processes(token);
        for (pid, _) in &processes {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::SIGKILL);
        }
        processes.is_empty().then_some(())
    });
    for mount in mounts(token) {
        let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
    }
    // A dead process stays in its cgroup for a moment.
    waiting::until(Duration::from_secs(2), || {
        let cgroups = cgroups(token);
        for cgroup in &cgroups {
            let _ = fs::remove_dir(cgroup);
        }
        cgroups.is_empty().then_some(())
    });
}
