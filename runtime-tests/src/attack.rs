//! Attacks that several commands have to stand.

use crate::Case;
use crate::case::Started;
use crate::runtime::runtime;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// CVE-2019-5736: while `attacker` (`probe overwrite`, which sees the processes of `case`) tries to open the runtime's
/// binary, `start` starts programs that execute it: by its link in /proc, and as an interpreter. It stays what it is.
pub fn binary_survives(case: &mut Case, attacker: &Started, mut start: impl FnMut(&mut Case, &str)) {
    // A copy, so that a success hurts nobody.
    let copy = case.dir.join(runtime().path.file_name().expect("a name"));
    fs::copy(&runtime().path, &copy).expect("copy the runtime");
    let before = fs::read(&copy).expect("read");
    case.binary = Some(copy.clone());
    let bin = case.rootfs().join("bin");
    fs::write(bin.join("script"), "#!/proc/self/exe\n").expect("write");
    fs::set_permissions(bin.join("script"), fs::Permissions::from_mode(0o755)).expect("chmod");
    symlink("/proc/self/exe", bin.join("link")).expect("symlink");
    for program in ["/bin/true", "/bin/script", "/bin/link", "/proc/self/exe"] {
        for _ in 0..5 {
            start(case, program);
        }
    }
    attacker.wait_for_line("done");
    case.binary = None;
    assert!(!attacker.output().contains("WROTE"), "{}", attacker.output());
    assert!(before == fs::read(&copy).expect("read"), "the binary has changed");
}
