//! `volume export` and `volume import`: against GNU tar in both directions, and against archives that are cut off,
//! damaged, or made to do harm.

use runtime_tests::trees::{add_socket, assert_same, described, fill};
use runtime_tests::{Case, Outcome, host_mounts::in_own_mounts, needs};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// GNU tar, which has to succeed.
#[track_caller]
fn tar(directory: &Path, words: &[&str]) {
    let output = Command::new("tar").arg("-C").arg(directory).args(words).output().expect("run tar");
    assert!(output.status.success(), "tar {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `volume import NAME -` with a file on its standard input.
fn import_stdin(case: &Case, name: &str, archive: &str) -> Outcome {
    let mut command = case.command();
    command.args(["volume", "import", name, "-"]).stdin(File::open(archive).expect("open"));
    case.finish(command)
}

#[track_caller]
fn assert_nothing_came(case: &Case, what: &str) {
    assert_eq!(case.volume_names(), [""; 0], "{what}");
    assert_eq!(case.debris(), [""; 0], "{what}");
}

#[test]
fn gnu_tar_reads_what_export_writes() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    case.volume(&["create", "data"]).ok();
    fill(&case.data("data"));
    let before = described(&case.data("data"));
    add_socket(&case.data("data"));
    let archive = case.path("data.tar");
    let out = case.volume(&["export", "data", "-o", &archive]).ok();
    assert_eq!((out.stdout.as_str(), out.stderr.contains("socket: socket ignored")), ("", true), "{out}");
    assert_eq!(case.users("data"), [""; 0], "the pin is gone");
    assert_eq!(fs::metadata(&archive).expect("stat").mode() & 0o7777, 0o600);
    assert!(fs::metadata(&archive).expect("stat").len() < 1 << 20, "holes are holes");
    let there = case.make_dir("there");
    tar(Path::new(&there), &["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", &archive]);
    fs::remove_file(case.data("data").join("socket")).expect("unlink");
    // Removing it has changed the time of its directory only.
    let without_top = |text: &str| text.lines().skip(1).collect::<Vec<_>>().join("\n");
    assert_same(&without_top(&before), &without_top(&described(Path::new(&there))), "GNU tar");
    assert!(fs::metadata(Path::new(&there).join("sparse")).expect("stat").blocks() < 1024);
    // To standard output the same, and back.
    assert_eq!(import_stdin(&case, "copy", &archive).ok().stdout, "copy\n");
    assert_same(&without_top(&before), &without_top(&described(&case.data("copy"))), "import");
    let top = fs::metadata(case.data("copy")).expect("stat");
    assert_eq!((top.uid(), top.gid()), (101, 102), "the volume's own directory");
    assert!(fs::metadata(case.data("copy").join("sparse")).expect("stat").blocks() < 1024);
    let inode = |name: &str| fs::metadata(case.data("copy").join(name)).expect("stat").ino();
    assert_eq!(inode("plain"), inode("deep/linked"));
    let first = case.finish({
        let mut command = case.command();
        command.args(["volume", "export", "copy"]);
        command
    });
    let stdout = case.make_file("stdout.tar", "");
    let mut command = case.command();
    command.args(["volume", "export", "copy"]).stdout(File::create(&stdout).expect("create")).stderr(Stdio::null());
    assert!(command.status().expect("run").success() && first.succeeded());
    case.volume(&["export", "copy", "--output", &archive]).ok();
    assert!(fs::read(&archive).expect("read") == fs::read(&stdout).expect("read"), "one volume, one archive");
}

#[test]
fn import_reads_what_gnu_tar_writes() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    let source = case.make_dir("source");
    let source = Path::new(&source);
    fill(source);
    let before = described(source);
    let archive = case.path("a.tar");
    for (round, words) in [
        vec!["--format=pax", "--xattrs", "--xattrs-exclude=system.*", "--acls"],
        vec!["--format=pax", "--xattrs", "-S", "--sparse-version=1.0"],
        vec!["--format=pax", "--xattrs", "-S", "--sparse-version=0.1"],
        vec!["--format=pax", "--xattrs", "-S", "--sparse-version=0.0"],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("pax{round}");
        tar(source, &[&words[..], &["--xattrs-include=*", "-cf", &archive, "."]].concat());
        case.volume(&["import", &name, &archive]).ok();
        assert_same(&before, &described(&case.data(&name)), &words.join(" "));
        let blocks = fs::metadata(case.data(&name).join("sparse")).expect("stat").blocks();
        assert_eq!(blocks < 1024, words.contains(&"-S"), "{words:?}: {blocks} blocks");
    }
    // The older formats have neither nanoseconds nor attributes; the rest is the same.
    let old = |text: String| -> Vec<String> {
        let seconds = |line: &str| line.split('.').next().unwrap_or_default().to_owned();
        text.lines().take_while(|line| !line.starts_with('#')).filter(|l| !l.starts_with("name")).map(seconds).collect()
    };
    for words in [vec!["--format=gnu"], vec!["--format=gnu", "-S"]] {
        tar(source, &[&words[..], &["-cf", &archive, "."]].concat());
        case.volume(&["import", "gnu", &archive]).ok();
        assert_eq!(old(described(&case.data("gnu"))), old(before.clone()), "{words:?}");
        case.volume(&["rm", "gnu"]).ok();
    }
    // Written twice, as by tar -r: the later one counts.
    let small = case.make_dir("small");
    case.make_file("small/file", "first");
    tar(Path::new(&small), &["-cf", &archive, "file"]);
    case.make_file("small/file", "second");
    tar(Path::new(&small), &["-rf", &archive, "file"]);
    case.volume(&["import", "twice", &archive]).ok();
    assert_eq!(case.read_data("twice", "file"), "second");
}

#[test]
fn an_existing_volume_is_filled_when_it_is_empty_and_unused() {
    needs!(Rvol);
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.make_file("source/file", "from the archive");
    let archive = case.path("a.tar");
    tar(Path::new(&source), &["-cf", &archive, "."]);
    case.volume(&["create", "--label", "a=b", "data"]).ok();
    case.volume(&["import", "data", &archive]).ok();
    assert_eq!(case.read_data("data", "file"), "from the archive");
    assert_eq!(case.volume(&["inspect", "-f", "{{.Labels.a}}", "data"]).ok().stdout, "b\n", "its labels stay");
    fs::write(case.data("data").join("file"), "mine").expect("write");
    case.volume(&["import", "data", &archive]).fails().says("volume data is not empty");
    assert_eq!(case.read_data("data", "file"), "mine");
    case.args(&["/bin/true"]);
    case.create_with(&["-v", "used:/data:nocopy"]).ok();
    case.volume(&["import", "used", &archive]).fails().says("volume is in use - [");
    assert_eq!(fs::read_dir(case.data("used")).expect("list").count(), 0);
    case.delete_force().ok();
    case.volume(&["import", "used", &archive]).ok();
    case.volume(&["import", "a/b", &archive]).fails().says("includes invalid characters");
    case.volume(&["import", "new", "/nowhere.tar"]).fails().says("no such file or directory");
    case.volume(&["export", "nope"]).fails().says("no such volume");
    assert_eq!(case.debris(), [""; 0]);
}

#[test]
fn archives_that_want_out() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    case.make_dir("outside");
    let secret = case.make_file("outside/secret", "secret");
    let source = case.make_dir("source");
    let source = Path::new(&source);
    fs::write(source.join("file"), "evil").expect("write");
    symlink(case.path("outside"), source.join("link")).expect("link");
    fs::create_dir(source.join("dir")).expect("mkdir");
    let archive = case.path("a.tar");
    let outside = case.path("outside");
    let refused = |why: &str| {
        case.volume(&["import", "data", &archive]).fails().says(why);
        assert_nothing_came(&case, why);
        assert_eq!(fs::read_to_string(&secret).expect("read"), "secret");
        assert_eq!(fs::read_dir(&outside).expect("list").count(), 1, "{why}");
    };
    tar(source, &["-cPf", &archive, &format!("--transform=s,^,{outside}/,"), "file"]);
    refused("an absolute path leads out of the volume");
    tar(source, &["-cPf", &archive, "--transform=s,^,dir/../../outside/,", "file"]);
    refused("a path with .. leads out of the volume");
    // A link, and then a file through it.
    tar(source, &["-cPf", &archive, "link"]);
    tar(source, &["-rPf", &archive, "--transform=s,^file,link/file,", "file"]);
    refused("a symbolic link or file of the archive stands where the directory link is to be");
    // The same with a directory, whose attributes would be the outer one's.
    tar(source, &["-cPf", &archive, "link"]);
    tar(source, &["-rPf", &archive, "--transform=s,^dir,link/dir,", "dir"]);
    refused("stands where the directory link/dir is to be");
    // A hard link to a file outside: by a path, and through a link.
    let hard = |target: &str, before: &[&str]| {
        fs::hard_link(source.join("file"), source.join("second")).expect("link");
        tar(source, &[&["-cPf", &archive], before, &["file", "second"]].concat());
        tar(source, &["--delete", "-f", &archive, "file"]);
        let bytes = fs::read(&archive).expect("read");
        fs::write(&archive, with_link(bytes, target)).expect("write");
        fs::remove_file(source.join("second")).expect("unlink");
    };
    hard("../outside/secret", &[]);
    refused("a path with .. leads out of the volume");
    hard(&secret, &[]);
    refused("an absolute path leads out of the volume");
    hard("link/secret", &["link"]);
    refused("stands where the directory link is to be");
    hard("missing", &[]);
    refused("which has to come before it in the archive");
}

/// Gives the hard link `second` of an archive another target.
fn with_link(mut archive: Vec<u8>, target: &str) -> Vec<u8> {
    let header = archive.chunks_mut(512).find(|block| block.starts_with(b"second\0")).expect("the link's header");
    assert_eq!(header[156], b'1', "a hard link");
    header[157..257].fill(0);
    header[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive
}

#[test]
fn a_damaged_archive_changes_nothing() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    let source = case.make_dir("source");
    case.make_file("source/a", &"text".repeat(500));
    case.make_file("source/b", "x");
    let archive = case.path("a.tar");
    tar(Path::new(&source), &["--format=pax", "-cf", &archive, "."]);
    let whole = fs::read(&archive).expect("read");
    let cut = case.path("cut.tar");
    for length in [0, 1, 511, 512, 1000, 1024, 1536, 2000, 2560, 4096, 5000] {
        fs::write(&cut, &whole[..length]).expect("write");
        let out = case.volume(&["import", "data", &cut]).fails();
        let clear = ["cut off", "not a tar archive", "ends where a member should be"];
        assert!(clear.iter().any(|text| out.stderr.contains(text)), "{length}: {out}");
        assert_eq!(out.stderr.lines().count(), 1, "{out}");
        assert_nothing_came(&case, "cut off");
    }
    let mut damaged = whole.clone();
    damaged.chunks_mut(512).find(|block| block.starts_with(b"./b\0")).expect("a header")[101] ^= 1;
    fs::write(&cut, &damaged).expect("write");
    case.volume(&["import", "data", &cut]).fails().says("the archive is damaged");
    assert_nothing_came(&case, "damaged");
    Command::new("gzip").arg(&archive).status().expect("run gzip");
    case.volume(&["import", "data", &format!("{archive}.gz")])
        .fails()
        .says("compressed with gzip: decompress it first (gunzip -c");
    case.volume(&["import", "data", "-"]).fails().says("this is not a tar archive: it is empty");
}

#[test]
fn an_archive_that_the_store_has_no_room_for() {
    needs!(Rvol);
    in_own_mounts(|| {
        let case = Case::without_rootfs();
        let small = case.volume_root();
        fs::create_dir_all(&small).expect("mkdir");
        nix::mount::mount(Some("test"), &small, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=64k"))
            .expect("tmpfs");
        case.expect_host_mount(small);
        let archive = case.path("a.tar");
        let source = case.make_dir("source");
        case.make_file("source/big", &"x".repeat(200 << 10));
        tar(Path::new(&source), &["-cf", &archive, "."]);
        case.volume(&["create", "old"]).ok();
        for name in ["new", "old"] {
            let out = case.volume(&["import", name, &archive]).fails().says("no space left on device");
            assert!(out.stderr.contains("unpack ./big"), "{out}");
            assert_eq!(case.volume_names(), ["old"]);
            assert_eq!(case.debris(), [""; 0]);
        }
        assert_eq!(fs::read_dir(case.data("old")).expect("list").count(), 0);
        case.make_file("source/big", "small");
        tar(Path::new(&source), &["-cf", &archive, "."]);
        case.volume(&["import", "old", &archive]).ok();
    });
}

#[test]
fn a_volume_stays_while_it_is_exported() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    case.volume(&["create", "data"]).ok();
    fs::write(case.data("data").join("file"), vec![1; 4 << 20]).expect("write");
    let mut command = case.command();
    command.args(["volume", "export", "data"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start");
    let mut out = child.stdout.take().expect("a pipe");
    let mut first = [0; 512];
    std::io::Read::read_exact(&mut out, &mut first).expect("read");
    // The pipe is full: it waits for us.
    case.volume(&["rm", "data"]).fails().says("volume is in use - [@export-");
    case.volume(&["prune", "-af"]).ok();
    case.volume(&["rename", "data", "other"]).fails().says("volume is in use");
    assert_eq!(case.volume_names(), ["data"]);
    drop(out);
    let output = child.wait_with_output().expect("wait");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("write the archive"), "{output:?}");
    // A file that is written appears when it is complete, and a failure leaves the old one.
    let archive = case.make_file("keep.tar", "old");
    fs::write(case.volume_root().join("data/volume.json"), "{").expect("damage");
    case.volume(&["export", "data", "-o", &archive]).fails().says("volume.json is damaged");
    assert_eq!(case.read("keep.tar"), "old");
    let names = fs::read_dir(&case.dir).expect("list").flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    assert_eq!(names.filter(|name| name.starts_with(".keep")).count(), 0);
    case.volume(&["rm", "-f", "data"]).ok();
}
