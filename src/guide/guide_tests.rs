use super::*;
use std::collections::BTreeSet;

/// The names in backquotes, of all pages.
fn quoted() -> BTreeSet<&'static str> {
    PAGES.iter().flat_map(|page| page.text.split('`').skip(1).step_by(2)).collect()
}

/// The links of a page: what stands in brackets as one word, but not in code.
fn links(text: &str) -> BTreeSet<&str> {
    let prose = text.split('`').step_by(2);
    let words = prose.flat_map(|part| part.split('[').skip(1)).filter_map(|part| part.split_once(']'));
    words.map(|(word, _)| word).filter(|word| !word.contains(char::is_whitespace) && !word.is_empty()).collect()
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
    let words: BTreeSet<&str> = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
    for flag in serve.get_arguments().filter_map(clap::Arg::get_long) {
        assert!(flag == "help" || words.contains(format!("--{flag}").as_str()), "no page names --{flag}");
    }
}

#[test]
fn files_that_pages_name_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let tops = ["src/", "stack/", "bpf/", "tests/", "benches/"];
    let named = quoted().into_iter().filter(|name| tops.iter().any(|top| name.starts_with(top)));
    for name in named {
        assert!(root.join(name).exists(), "there is no {name}");
    }
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
