use super::*;
use std::collections::BTreeSet;

/// The links of a page: what stands in brackets as one word, but not in code.
fn links(text: &str) -> BTreeSet<&str> {
    let prose = text.split('`').step_by(2);
    let words =
        prose.flat_map(|part| part.split('[').skip(1)).filter_map(|part| part.split_once(']'));
    words
        .map(|(word, _)| word)
        .filter(|word| !word.contains(char::is_whitespace) && !word.is_empty())
        .collect()
}

#[test]
fn every_topic_prints_its_page_without_definitions_of_links() {
    for Page { topic, summary, text } in PAGES {
        let printed = page(topic).unwrap();
        assert!(printed.starts_with("# ") && printed.ends_with('\n'), "{topic}");
        assert!(!printed.contains(".md\n") && printed.len() <= text.len(), "{topic}");
        assert!(list().contains(&format!("  {topic} ")) && list().contains(summary), "{topic}");
    }
    assert!(list().lines().all(|line| line.len() <= 100), "{}", list());
}

#[test]
fn an_unknown_topic_is_a_usage_error_that_names_the_topics() {
    let Err(Error::Usage(text)) = page("ngnix") else { panic!("a usage error") };
    assert!(text.starts_with("guide ngnix: unknown topic; expected one of "), "{text}");
    assert!(PAGES.iter().all(|page| text.contains(page.topic)), "{text}");
}

#[test]
fn links_between_pages_resolve() {
    let topics: BTreeSet<&str> = PAGES.iter().map(|page| page.topic).collect();
    for page in PAGES {
        let defined: BTreeSet<&str> = page
            .text
            .lines()
            .filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
            .map(|(topic, file)| {
                assert_eq!(file, format!("{topic}.md"), "{}", page.topic);
                topic
            })
            .collect();
        let used = links(page.text);
        assert!(used.is_subset(&topics), "{}: {used:?}", page.topic);
        assert_eq!(used, defined, "{}: each link has a definition", page.topic);
    }
}

#[test]
fn every_flag_of_serve_is_on_a_page() {
    let command = crate::cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let text: String = PAGES.iter().map(|page| page.text).collect();
    let words: BTreeSet<&str> =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
    for flag in serve.get_arguments().filter_map(clap::Arg::get_long) {
        assert!(
            flag == "help" || words.contains(format!("--{flag}").as_str()),
            "no page names --{flag}"
        );
    }
}

/// A file of the repository.
fn file(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whether this is there, seen from the root of the repository.
fn exists(name: &str) -> bool {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name).exists()
}

#[test]
fn files_that_documents_name_exist() {
    let tops = ["src/", "stack/", "bpf/", "tests/", "benches/", ".ci/"];
    let documents = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(file);
    let texts = documents.iter().map(String::as_str).chain(PAGES.iter().map(|page| page.text));
    for name in texts.flat_map(|text| text.split('`').skip(1).step_by(2)) {
        // A name in capitals stands for another.
        let is_pattern =
            name.contains(|c: char| c.is_whitespace() || c == '…') || name.contains("NAME");
        assert!(
            is_pattern || !tops.iter().any(|top| name.starts_with(top)) || exists(name),
            "there is no {name}"
        );
    }
}

#[test]
fn an_example_of_each_kind_of_handler_has_at_most_80_lines() {
    for name in ["echo", "router", "resp", "kv_rest"] {
        let lines = file(&format!("src/guide/examples/{name}.rs")).lines().count();
        assert!(lines <= 80, "{name}: {lines} lines");
    }
}

#[test]
fn the_readme_is_short_and_its_links_lead_to_files_and_headings() {
    let readme = file("README.md");
    assert!(readme.lines().count() <= 200);
    for target in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let (name, heading) = target.split_once('#').unwrap_or((target, ""));
        let text = if name.is_empty() { readme.clone() } else { file(name) };
        let anchor =
            |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        let is_there = text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
        assert!(heading.is_empty() || is_there, "no heading for {target}");
    }
    let linked = |page: &Page| readme.contains(&format!("(src/guide/{}.md)", page.topic));
    assert!(PAGES.iter().all(linked), "the README links to each page");
}

#[test]
fn lines_are_at_most_100_columns_but_for_rows_of_tables_and_code() {
    for page in PAGES {
        let prose = page.text.split("```").step_by(2).flat_map(str::lines);
        for line in prose.filter(|line| !line.starts_with('|')) {
            assert!(line.chars().count() <= 100, "{}: {line}", page.topic);
        }
    }
}

/// The modules of this crate and the other crates of the repository that a source file uses,
/// comments and tests left out.
fn used(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let name = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut found: BTreeSet<String> = code.split("crate::").skip(1).map(name).collect();
    for group in code.split("use crate::{").skip(1) {
        let group = group.split(';').next().unwrap_or_default();
        found.extend(group.split(['{', ',', '}']).map(|part| name(part.trim_start())));
    }
    let crates = ["af_xdp", "simoom_io", "simoom_tcp"].map(String::from);
    found.extend(crates.into_iter().filter(|one| code.contains(&format!("{one}::"))));
    found
}

/// The Rust sources below a directory, without those of tests.
fn sources(directory: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "testing" {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("_tests.rs") && name != "testing.rs" {
            found.push(path);
        }
    }
}

/// The table of the layers: rows of a directory, its contents, and what it uses nothing of.
#[test]
fn layers_use_nothing_of_what_the_architecture_page_says() {
    let mut checked = 0;
    for row in file("src/guide/architecture.md").lines().filter(|line| line.starts_with("| `src/"))
    {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let [directory, _, others] = cells[..] else { continue };
        let Some(directory) = directory.trim_matches('`').strip_suffix('/') else { continue };
        let others: Vec<&str> = others.split('`').skip(1).step_by(2).collect();
        assert!(!others.is_empty(), "{row}");
        let mut files = Vec::new();
        sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut files);
        for path in &files {
            let found = used(&std::fs::read_to_string(path).unwrap());
            let wrong: Vec<&&str> = others.iter().filter(|other| found.contains(**other)).collect();
            assert!(wrong.is_empty(), "{}: {directory} uses nothing of {wrong:?}", path.display());
        }
        checked += files.len();
    }
    assert!(checked > 200, "{checked} files");
}

/// The functions of a row of "Follow one packet", each with its file: `Type::name`, or several,
/// then perhaps "in" and another file, from the root or from the directory of the row's file.
fn functions(row: &str) -> Vec<(String, String)> {
    let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
    let [_, of_row, parts, _] = cells[..] else { panic!("{row}") };
    let of_row = of_row.trim_matches('`');
    let directory = of_row.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut found = Vec::new();
    for part in parts.split("; ") {
        let (names, other) = part.split_once(" in ").unwrap_or((part, ""));
        let file = match other.trim_matches('`') {
            "" => of_row.to_owned(),
            name if name.contains('/') => name.to_owned(),
            name => format!("{directory}/{name}"),
        };
        let names = names.split('`').skip(1).step_by(2);
        let names = names.map(|name| name.rsplit("::").next().unwrap_or_default().to_owned());
        found.extend(names.map(|name| (file.clone(), name)));
    }
    found
}

#[test]
fn functions_that_a_packet_passes_are_in_their_files() {
    let page = file("src/guide/architecture.md");
    let is_row = |line: &&str| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit();
    let found: Vec<_> = page.lines().filter(is_row).flat_map(functions).collect();
    assert!(found.len() > 30, "{found:?}");
    for (path, name) in found {
        let text = file(&path);
        let is_c = path.ends_with(".c");
        let is_there = text.lines().any(|line| match is_c {
            true => line.contains(&format!(" {name}(")) && !line.trim_end().ends_with(';'),
            false => [format!("fn {name}("), format!("fn {name}<")]
                .iter()
                .any(|start| line.contains(start.as_str())),
        });
        assert!(is_there, "architecture.md, \"Follow one packet\": no function {name} in {path}");
    }
}

#[test]
fn the_page_nic_names_every_congestion_control() {
    let page = file("src/guide/nic.md");
    let part = page.split("`--congestion` chooses").nth(1).unwrap();
    let part = part.split("\n\n").next().unwrap();
    for name in simoom_tcp::Congestion::ALL.iter().map(simoom_tcp::Congestion::name) {
        assert!(part.contains(&format!("`{name}`")), "nic.md: --congestion: {name} is missing");
    }
}

#[test]
fn uses_are_found_however_they_are_written() {
    let source = "use crate::{app, config::{self, Http}, kernel};\nuse af_xdp::Queue;\n\
                  fn f(a: crate::steer::Claim) {} // crate::server\n//! crate::load\n\
                  #[cfg(test)]\nmod tests { use crate::store; }\n";
    let found = used(source);
    for word in ["app", "config", "kernel", "steer", "af_xdp"] {
        assert!(found.contains(word), "{word}: {found:?}");
    }
    for word in ["load", "store", "simoom_tcp"] {
        assert!(!found.contains(word), "{word}: {found:?}");
    }
}
