//! Checks that the tests named in `stack/tcp/rfcs.md` exist.

use std::fs;
use std::path::{Path, PathBuf};

const TABLES: &str = include_str!("../rfcs.md");
const REQUIREMENTS: &str = include_str!("../rfc9293.md");

/// The rows of the table whose first line begins with `heading`.
fn rows(heading: &str) -> impl Iterator<Item = &'static str> {
    rows_of(TABLES, heading)
}

fn rows_of(tables: &'static str, heading: &str) -> impl Iterator<Item = &'static str> {
    let rows = tables.lines().skip_while(move |line| !line.starts_with(heading)).skip(2);
    rows.take_while(|line| line.starts_with('|'))
}

/// The last columns of that table.
fn shown_by(heading: &str) -> impl Iterator<Item = &'static str> {
    rows(heading).map(|row| row.trim_end_matches(" |").rsplit("| ").next().unwrap())
}

fn in_backquotes(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust sources of this directory and those below.
fn sources(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_rust = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let here = files.iter().filter(is_rust).map(|path| fs::read_to_string(path).unwrap());
    here.chain(directories.iter().flat_map(|directory| sources(directory))).collect()
}

fn scripts() -> Vec<String> {
    let scripts = fs::read_dir(root().join("stack/tcp/tests/scripts")).unwrap();
    scripts.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Whether the scripts and files of a cell exist.
fn check_that_all_exist(cell: &'static str, scripts: &[String]) {
    for name in in_backquotes(cell) {
        assert!(
            scripts.iter().any(|script| script.starts_with(name)),
            "no script begins with {name}"
        );
    }
    for file in cell.split(", ").filter(|name| !name.starts_with('`')) {
        assert!(root().join(file).is_file(), "there is no {file}");
    }
}

#[test]
fn every_row_names_scripts_and_files_that_exist() {
    let scripts = scripts();
    let mut rows = 0;
    for cell in shown_by("| RFC ") {
        rows += 1;
        assert!(!cell.is_empty(), "a row names nothing");
        check_that_all_exist(cell, &scripts);
    }
    assert!(rows > 30, "{rows} rows");
}

/// The numbers of the requirements of RFC 9293, appendix B.
#[test]
fn every_requirement_of_rfc_9293_is_answered_and_shown() {
    let scripts = scripts();
    let numbers = |kind: &str, last: u32| (1..=last).map(|n| format!("{kind}-{n}")).collect();
    let expected: Vec<String> =
        [numbers("MUST", 69), numbers("SHLD", 31), vec!["REC-1".to_owned()]].concat();
    let mut found = Vec::new();
    for row in rows_of(REQUIREMENTS, "| requirement ") {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, _, followed, ref shown @ ..] = cells[..] else { panic!("{row}") };
        found.push(number.to_owned());
        let is_followed = followed.starts_with("yes") || followed.starts_with("in part: ");
        let is_explained = followed.starts_with("no: ") || followed.starts_with("none here");
        assert!(is_followed || is_explained, "{row}");
        let shown = shown.first().copied().unwrap_or_default();
        assert!(!shown.is_empty() || !is_followed, "{number} is shown by nothing");
        if !shown.is_empty() {
            check_that_all_exist(shown, &scripts);
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn every_row_names_code_that_exists() {
    for row in rows("| RFC ") {
        let code = row.trim_end_matches(" |").rsplit("| ").nth(1).unwrap();
        for file in code.trim_end().split(", ") {
            assert!(root().join("stack/tcp/src").join(file).is_file(), "there is no {file}");
        }
    }
}

#[test]
fn every_attack_names_tests_that_exist() {
    let all = ["stack/tcp/tests", "tests/serve"]
        .map(|directory| sources(&root().join(directory)).concat())
        .concat();
    let mut names = 0;
    for name in shown_by("| attack ").flat_map(in_backquotes) {
        names += 1;
        let script = root().join(format!("stack/tcp/tests/scripts/{name}.txt"));
        let is_test = all.contains(&format!("fn {name}(")) || script.is_file();
        assert!(is_test, "there is no test {name}");
    }
    assert!(names > 15, "{names} names");
}
