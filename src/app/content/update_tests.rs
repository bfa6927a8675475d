//! An update gives what a load gives.

use super::super::{Disk, Entry, HeaderRule, Pattern, RedirectRule, Site, Template};
use super::*;
use crate::app::content::Outcome;
use crate::app::content::watch::{Change, Watch};
use std::fs;
use std::os::fd::AsFd;
use std::time::Duration;
use tempfile::TempDir;

const NAMES: [&str; 8] =
    ["a.txt", "a.txt.gz", "a.txt.br", "b.html", "b.html.zst", "index.html", "ruled", ".hidden"];
const DIRECTORIES: [&str; 2] = ["", "d/"];

fn settings(root: &Path) -> Settings {
    let pattern = |text| Pattern::parse(text).unwrap();
    Settings {
        limit_bytes: 1 << 20,
        disk: Some(Disk { large_bytes: 3000, memory_bytes: 1 << 19, buffers_bytes: 0 }),
        site: Site {
            root: Some(root.into()),
            headers: vec![HeaderRule {
                path: pattern("/d/*"),
                name: "X-D".into(),
                value: "1".into(),
            }],
            redirects: vec![RedirectRule {
                from: pattern("/d/ruled"),
                to: Template::path("/elsewhere", 0).unwrap(),
                status: 301,
            }],
            ..Site::default()
        },
        ..Settings::default()
    }
}

/// What is served under each path: fields, length and bytes of each form.
fn served(content: &Content) -> Vec<String> {
    let mut served = Vec::new();
    for directory in DIRECTORIES {
        for name in NAMES.iter().chain(&[""]) {
            let path = format!("/{directory}{name}");
            let index = match content.find(0, path.as_bytes()) {
                Some(Entry::File(index)) => Some(index),
                Some(Entry::Ruled(_)) => {
                    match content.resolve(0, path.as_bytes(), None, &mut [0; 100]) {
                        Outcome::File(index) => Some(index),
                        outcome => {
                            served.push(format!("{path}: {outcome:?}"));
                            None
                        }
                    }
                }
                Some(Entry::Redirect(_)) | None => None,
            };
            let Some(index) = index else { continue };
            let forms = Coding::ALL.map(|coding| content.file(index).coded(coding));
            for index in [Some(index)].into_iter().chain(forms).flatten() {
                let file = content.file(index);
                let fields = String::from_utf8_lossy(file.fields().as_slice()).into_owned();
                // The tag of a file on disk that is new differs between loads.
                let is_tag = |line: &&str| !(line.starts_with("ETag") && file.on_disk().is_some());
                let fields: String = fields.lines().filter(is_tag).collect();
                let bytes = file.content().as_slice().to_vec();
                served.push(format!("{path}: {fields} {} {bytes:?}", file.len()));
            }
        }
    }
    served
}

fn changed(root: &Path, path: &str) -> Changed {
    let path = root.join(path);
    let name = path.file_name().unwrap().as_bytes().to_vec();
    Changed { directory: path.parent().unwrap().to_path_buf(), name }
}

fn tree() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    fs::create_dir(root.join("d")).unwrap();
    for directory in DIRECTORIES {
        fs::write(root.join(directory).join("index.html"), "<p>").unwrap();
    }
    (directory, root)
}

#[test]
fn updates_one_after_another_give_what_a_load_gives() {
    for seed in 1..=20_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        let (_directory, root) = tree();
        let settings = settings(&root);
        let mut content = Content::load(&settings).unwrap();
        let mut updates = 0;
        for step in 0..40 {
            let mut changes = Vec::new();
            for _ in 0..=random(3) {
                let path = format!("{}{}", DIRECTORIES[random(2)], NAMES[random(NAMES.len())]);
                match random(4) {
                    0 => drop(fs::remove_file(root.join(&path))),
                    _ => {
                        let text = format!("{step} {path} ").repeat(1 + random(300));
                        fs::write(root.join(&path), text).unwrap();
                    }
                }
                changes.push(changed(&root, &path));
            }
            let expected = Content::load(&settings).unwrap();
            match content.update(&settings, &changes) {
                Update::Changed(updated) => {
                    updates += 1;
                    content = *updated;
                }
                Update::Unchanged => {}
                Update::Unknown => content = content.reload(&settings).unwrap(),
            }
            assert_eq!(served(&content), served(&expected), "seed {seed}, step {step}");
            let compacted = content.compacted();
            assert_eq!(served(&compacted), served(&expected), "seed {seed}, step {step}");
            let counts = |content: &Content| {
                [content.files(), content.files_on_disk(), content.open_files().len()]
            };
            assert_eq!(counts(&compacted), counts(&expected), "seed {seed}, step {step}");
            assert_eq!(counts(&content)[..2], counts(&expected)[..2], "seed {seed}, step {step}");
            assert_eq!(content.served_memory_bytes(), compacted.memory_bytes());
            if random(8) == 0 {
                content = compacted;
            }
        }
        assert!(updates > 10, "seed {seed}: {updates} updates");
    }
}

#[test]
fn what_an_update_does_not_know_needs_a_load() {
    let (_directory, root) = tree();
    let base = settings(&root);
    let content = Content::load(&base).unwrap();
    let is_unknown = |content: &Content, settings: &Settings, path: &str| {
        matches!(content.update(settings, &[changed(&root, path)]), Update::Unknown)
    };
    fs::write(root.join("a.txt"), "a").unwrap();
    assert!(!is_unknown(&content, &base, "a.txt"));
    fs::hard_link(root.join("a.txt"), root.join("b.txt")).unwrap();
    assert!(is_unknown(&content, &base, "b.txt"), "a second name");
    std::os::unix::fs::symlink("a.txt", root.join("c.txt")).unwrap();
    assert!(is_unknown(&content, &base, "c.txt"), "a link");
    fs::create_dir(root.join("e")).unwrap();
    assert!(is_unknown(&content, &base, "e"), "a directory");
    fs::write(root.join("e/f"), "f").unwrap();
    assert!(is_unknown(&content, &base, "e/f"), "a new directory");
    fs::remove_file(root.join("d/index.html")).unwrap();
    assert!(is_unknown(&content, &base, "d/index.html"), "the page of a directory");
    let with_links = Content::load(&base).unwrap();
    assert!(is_unknown(&with_links, &base, "a.txt"), "links in the tree");
    let pages = Site { error_pages: vec![(404, "/a.txt".into())], ..base.site.clone() };
    assert!(is_unknown(&content, &Settings { site: pages, ..base.clone() }, "a.txt"));
    fs::remove_file(root.join("b.txt")).unwrap();
    fs::write(root.join("a.txt"), vec![b'x'; 2999]).unwrap();
    let tight = Settings { limit_bytes: 3000, ..base.clone() };
    assert!(is_unknown(&content, &tight, "a.txt"), "no memory");
    let many: Vec<_> = (0..=CHANGES_MIN).map(|n| changed(&root, &format!("{n}"))).collect();
    assert!(matches!(content.update(&base, &many), Update::Unknown));
    let often = vec![changed(&root, "a.txt"); CHANGES_MIN + 1];
    assert!(matches!(content.update(&base, &often), Update::Changed(_)), "one name");
    let hidden = [changed(&root, ".hidden")];
    assert!(matches!(content.update(&base, &hidden), Update::Unchanged));
}

/// A writer renames a finished file between the look at its first name and its load.
#[test]
fn a_name_that_is_gone_meanwhile_has_no_file() {
    let (_root, path) = tree();
    let settings = settings(&path);
    let content = Content::load(&settings).unwrap();
    let origin = content.origin.as_ref().unwrap();
    let root = origin.roots[0].as_ref().unwrap();
    let builder = Builder::of(content.clone(), 0);
    let updater = Updater { origin, settings: &settings, builder };
    for len in [10, 4000] {
        let new = path.join("new");
        fs::write(&new, vec![b'n'; len]).unwrap();
        let stat = root.stat(&new).unwrap();
        assert!(updater.load(root, &new, &stat).is_ok_and(|loaded| loaded.is_some()));
        fs::rename(&new, path.join("a.txt")).unwrap();
        assert!(updater.load(root, &new, &stat).is_ok_and(|loaded| loaded.is_none()), "{len}");
    }
}

#[test]
fn an_update_leaves_the_content_before_it_alone() {
    let (_directory, root) = tree();
    fs::write(root.join("a.txt"), "old").unwrap();
    let settings = settings(&root);
    let before = Content::load(&settings).unwrap();
    let expected = served(&before);
    fs::write(root.join("a.txt"), "new").unwrap();
    fs::write(root.join("b.html"), "new").unwrap();
    let changes = [changed(&root, "a.txt"), changed(&root, "b.html")];
    let Update::Changed(after) = before.update(&settings, &changes) else { panic!("no update") };
    assert_eq!(served(&before), expected);
    assert_ne!(served(&after), expected);
    assert_eq!(after.files(), before.files() + 1);
}

/// What changes in a directory after it was read is told, from the first load on. What a reload
/// does not find is watched no more.
#[test]
fn a_load_watches_each_directory_before_it_reads_it() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::write(root.path().join("a/b/f"), "1").unwrap();
    let settings = Settings {
        limit_bytes: 1 << 20,
        site: Site { root: Some(root.path().into()), ..Site::default() },
        ..Settings::default()
    };
    let (never, _other) = std::io::pipe().unwrap();
    let mut watch = Watch::new().unwrap();
    let content = Content::load_watched(&settings, Some(&mut watch)).unwrap();
    fs::write(root.path().join("a/b/f"), "22").unwrap();
    assert_eq!(watch.wait(never.as_fd(), Duration::from_secs(10)), Change::Files);
    let changes = watch.take_changes().expect("names alone changed");
    assert!(changes.iter().all(|change| change.name == b"f"), "{changes:?}");
    assert!(matches!(content.update(&settings, &changes), Update::Changed(_)));
    fs::rename(root.path().join("a/b"), root.path().join("a/.b")).unwrap();
    assert_eq!(watch.wait(never.as_fd(), Duration::from_secs(10)), Change::Files);
    assert_eq!(watch.take_changes(), None, "a directory changed");
    content.reload_watched(&settings, true, Some(&mut watch)).unwrap();
    fs::write(root.path().join("a/.b/f"), "333").unwrap();
    assert_eq!(watch.wait(never.as_fd(), Duration::ZERO), Change::Nothing);
    watch.check().unwrap();
}
