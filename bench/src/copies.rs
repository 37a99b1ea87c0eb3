//! Copy-up against cp(1): `create` with a new volume over a directory of the image, and `cp -a` of that directory, by
//! turns; and, since the former makes a container as well, `create` without a copy followed by cp. All on the place's
//! tmpfs, so that it is the work that is measured and not a disk.

use crate::cases::{Leftovers, Profile};
use crate::complaints::Complaints;
use crate::contestant::{Contestant, Names};
use crate::place::Place;
use crate::sys::Command;
use crate::table::{Cell, Row, Table};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SMALL_FILES: usize = 10_000;
const BIG_MEGABYTES: usize = 256;
/// A round takes long.
const ROUNDS: usize = 10;

/// What is copied: the directory's name in the image, and what is in it.
const TREES: [(&str, &str); 3] = [
    ("small", "10,000 files of 330 bytes in 50 directories"),
    ("big", "one file of 256 MB"),
    ("sparse", "a file of 10 GB with 10 MB of data"),
];

pub fn print(place: &Place, subject: &Contestant, complaints: &mut Complaints, markdown: bool) {
    match measure(place, subject) {
        Ok(rows) => {
            println!(
                "Copy-up into a new volume, median (90th percentile) of {ROUNDS} rounds in ms. `create` is the whole"
            );
            println!("command; with a slash: its median divided by that of cp, or of a create without a copy and cp.");
            let names = [format!("{} create", subject.name), "cp -a".to_owned(), "create, cp -a".to_owned()];
            Table::of_figures("", &names, &rows).print(markdown);
            println!();
        }
        Err(error) => complaints.say("copies", subject, &error),
    }
}

fn measure(place: &Place, subject: &Contestant) -> Result<Vec<Row>> {
    make_trees(&place.rootfs).context("make the trees to copy")?;
    let mut rows = Vec::new();
    for (tree, name) in TREES {
        let [mut ours, mut theirs, mut by_hand] = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..ROUNDS + 1 {
            let (a, b) = if round % 2 == 0 {
                let a = create(place, subject, tree, Copy::Yes)?;
                (a, cp(place, tree)?)
            } else {
                let b = cp(place, tree)?;
                (create(place, subject, tree, Copy::Yes)?, b)
            };
            let bare = create(place, subject, tree, Copy::No)?;
            // The first one warms up.
            if round > 0 {
                ours.push(a);
                theirs.push(b);
                by_hand.push(bare + b);
            }
        }
        let cells = vec![Cell::Figures(ours), Cell::Figures(theirs), Cell::Figures(by_hand)];
        rows.push(Row { name: name.to_owned(), higher_is_better: false, cells });
    }
    Ok(rows)
}

/// Whether the volume takes what the image has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copy {
    Yes,
    No,
}

fn create(place: &Place, subject: &Contestant, tree: &str, copy: Copy) -> Result<f64> {
    let id = format!("bench-copies-{tree}");
    let bundle = place.bundle(&id, Profile::Minimal.config(place)?)?;
    let names = Names { cgroup: format!("{}/{id}", place.cgroup), pid_file: bundle.join("pid"), id, bundle };
    let volumes = place.dir.join("volumes");
    let option = if copy == Copy::Yes { "" } else { ":nocopy" };
    let create = subject.create_with_volume(place, &names, &volumes, &format!("data:/{tree}{option}"))?;
    let leftovers = Leftovers { place, who: subject, names: vec![names] };
    let time = place.timed(&create)?;
    let copied = count(&volumes.join("data/_data"))?;
    let expected = if copy == Copy::Yes { count(&place.rootfs.join(tree))? } else { 0 };
    anyhow::ensure!(copied == expected, "copy-up copied {copied} entries of {tree}");
    drop(leftovers);
    fs::remove_dir_all(&volumes).context("remove the volumes")?;
    Ok(time)
}

fn cp(place: &Place, tree: &str) -> Result<f64> {
    let copy = place.dir.join("copy");
    let words: [PathBuf; 4] = ["/bin/cp".into(), "-a".into(), place.rootfs.join(tree), copy.clone()];
    let time = place.timed(&Command::new(words)?)?;
    fs::remove_dir_all(&copy).context("remove the copy")?;
    Ok(time)
}

fn count(dir: &Path) -> Result<usize> {
    Ok(fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?.count())
}

fn make_trees(rootfs: &Path) -> Result<()> {
    if rootfs.join("small").exists() {
        return Ok(());
    }
    let text = "a small file".repeat(27) + "\nend.\n";
    for dir in 0..50 {
        let dir = rootfs.join(format!("small/{dir}"));
        fs::create_dir_all(&dir)?;
        for file in 0..SMALL_FILES / 50 {
            fs::write(dir.join(file.to_string()), &text)?;
        }
    }
    fs::create_dir(rootfs.join("big"))?;
    fs::write(rootfs.join("big/file"), vec![7; BIG_MEGABYTES << 20])?;
    fs::create_dir(rootfs.join("sparse"))?;
    let sparse = fs::File::create(rootfs.join("sparse/file"))?;
    for piece in 0..10 {
        sparse.write_all_at(&[7; 1 << 20], piece << 30)?;
    }
    sparse.set_len(10 << 30)?;
    Ok(())
}
