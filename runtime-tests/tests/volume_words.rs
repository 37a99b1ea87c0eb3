//! `volume …` held against what Docker 26 answered to the same command lines: output, error, exit code.

use runtime_tests::words::{self, RECORD, Words};
use runtime_tests::{Case, needs};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_line_answers_as_docker_26_does() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    case.write_config();
    let player = words::ours(&case);
    let (mut equal, mut different, mut rows) = (0, Vec::new(), BTreeSet::new());
    for words in words::parse(RECORD) {
        if words.section.is_some() {
            words::clean(&case, &player);
        }
        let (stdout, stderr, code) = player.run(&words.line);
        if let Some(row) = words.on_purpose {
            rows.insert(row);
        } else if words.answer() == (stdout.as_str(), stderr.as_str(), code) {
            equal += 1;
        } else {
            let ours = Words { section: None, stdout, stderr, code, ..words.clone() };
            different.push(format!("{}--- ours\n{}", words::print(&[words]), words::print(&[ours])));
        }
    }
    words::clean(&case, &player);
    println!("{equal} lines equal, {} different", different.len());
    assert!(
        different.is_empty(),
        "{} lines are not Docker's ({equal} are):\n{}",
        different.len(),
        different.join("\n")
    );
    let manual =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/volumes.md")).expect("read the manual");
    for row in rows {
        assert!(manual.contains(&format!("| {row} |")), "docs/volumes.md has no row {row:?} in its table");
    }
}
