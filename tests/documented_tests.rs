//! Every test that docs/security.md names exists: a promise whose test was renamed or removed is a promise no more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The texts between backquotes that are `file::test`.
fn named(page: &str) -> Vec<(String, String)> {
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let spans = page.split('`').skip(1).step_by(2);
    let pairs = spans.filter_map(|span| span.split_once("::")).filter(|(file, test)| is_name(file) && is_name(test));
    pairs.map(|(file, test)| (file.to_owned(), test.to_owned())).collect()
}

/// The source of a test program: one file, or all of a directory.
fn source(name: &str) -> String {
    let mut text = String::new();
    for tests in ["tests", "runtime-tests/tests"].map(|directory| top().join(directory)) {
        let directory = std::fs::read_dir(tests.join(name)).into_iter().flatten().map(|entry| entry.unwrap().path());
        let files: Vec<PathBuf> = directory.chain([tests.join(format!("{name}.rs"))]).collect();
        for file in files.iter().filter(|file| file.is_file()) {
            text.push_str(&std::fs::read_to_string(file).unwrap());
        }
    }
    text
}

/// Whether the source has the test: as a function, or by name in the list of a program that is no libtest.
fn has(source: &str, test: &str) -> bool {
    source.contains(&format!("fn {test}(")) || source.contains(&format!("(\"{test}\","))
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let page = std::fs::read_to_string(top().join("docs/security.md")).unwrap();
    let named = named(&page);
    assert!(named.len() >= 40, "the page names only {} tests: is it still read rightly?", named.len());
    let mut sources = BTreeMap::new();
    let missing: Vec<String> = named
        .iter()
        .filter(|(file, test)| !has(sources.entry(file).or_insert_with(|| source(file)), test))
        .map(|(file, test)| format!("{file}::{test}"))
        .collect();
    assert!(missing.is_empty(), "docs/security.md names tests that do not exist:\n{}", missing.join("\n"));
}

#[test]
fn names_are_found_and_missing_tests_are_seen() {
    let page = "| x | `a::b_c`, `not a test`, `Type::Variant<T>` | `d::e` |";
    assert_eq!(named(page), [("a".into(), "b_c".into()), ("d".into(), "e".into())]);
    assert!(has("#[test]\nfn b_c() {}", "b_c") && has("(\"b_c\", b)", "b_c"));
    assert!(!has("fn b_cd() {}", "b_c"));
    assert_eq!(source("no_such_program"), "");
}
