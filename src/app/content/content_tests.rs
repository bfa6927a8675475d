use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

const LIMIT: usize = 1 << 20;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn load(root: &Path, limit_bytes: usize) -> Result<Content, Error> {
    load_site(limit_bytes, Site { root: Some(root.into()), ..Site::default() })
}

fn load_site(limit_bytes: usize, site: Site) -> Result<Content, Error> {
    Content::load(&Settings { limit_bytes, site, ..Settings::default() })
}

fn is_file(content: &Content, path: &str) -> bool {
    matches!(content.find(0, path.as_bytes()), Some(Entry::File(_)))
}

#[test]
fn files_and_directories_are_found_by_their_paths() {
    let root = tree(&[
        ("index.html", "root"),
        ("a b.txt", "x"),
        ("sub/index.html", "sub"),
        ("bare/file", "y"),
    ]);
    let content = load(root.path(), LIMIT).unwrap();
    assert_eq!(content.files(), 4);
    for path in ["/", "/index.html", "/a b.txt", "/sub/", "/sub/index.html", "/bare/file"] {
        assert!(is_file(&content, path), "{path}");
    }
    assert_eq!(content.find(0, b"/"), content.find(0, b"/index.html"));
    assert!(matches!(content.find(0, b"/sub"), Some(Entry::Redirect(_))));
    for path in ["", "/bare", "/bare/", "/a b.txt/", "/none", "//"] {
        assert_eq!(content.find(0, path.as_bytes()), None, "{path}");
    }
}

#[test]
fn links_are_followed_within_the_root_only() {
    let outside = tree(&[("secret", "s")]);
    let root = tree(&[("sub/file.txt", "x")]);
    let link = |to: &Path, name: &str| symlink(to, root.path().join(name)).unwrap();
    link(Path::new("sub/file.txt"), "inside.txt");
    link(Path::new("sub"), "again");
    link(&outside.path().join("secret"), "secret");
    link(outside.path(), "outside");
    link(Path::new("nowhere"), "dangling");
    link(Path::new("."), "loop");
    let content = load(root.path(), LIMIT).unwrap();
    assert!(is_file(&content, "/inside.txt") && is_file(&content, "/again/file.txt"));
    assert_eq!(
        content.find(0, b"/inside.txt"),
        content.find(0, b"/again/file.txt"),
        "its bytes are there once"
    );
    assert_eq!(content.files(), 1);
    for path in ["/secret", "/outside/secret", "/dangling", "/loop/inside.txt", "/loop"] {
        assert_eq!(content.find(0, path.as_bytes()), None, "{path}");
    }
}

#[test]
fn names_with_a_dot_in_front_are_served_if_asked() {
    let root = tree(&[(".env", "x"), (".well-known/a", "y")]);
    let with = |dotfiles| {
        load_site(LIMIT, Site { root: Some(root.path().into()), dotfiles, ..Site::default() })
            .unwrap()
    };
    assert!(!is_file(&with(false), "/.env") && is_file(&with(false), "/.well-known/a"));
    assert!(is_file(&with(true), "/.env") && is_file(&with(true), "/.well-known/a"));
}

#[test]
fn special_files_are_left_out() {
    let root = tree(&[("file", "x")]);
    let made = Command::new("mkfifo").arg(root.path().join("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    let content = load(root.path(), LIMIT).unwrap();
    assert_eq!(content.files(), 1);
}

/// What a log has written.
#[derive(Clone, Default)]
struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_load_that_nobody_asked_for_repeats_no_line_about_paths_that_are_not_served() {
    let root = tree(&[("file", "x")]);
    let fifo = |name| Command::new("mkfifo").arg(root.path().join(name)).status().unwrap();
    assert!(fifo("pipe").success());
    let settings = Settings {
        limit_bytes: LIMIT,
        site: Site { root: Some(root.path().into()), ..Site::default() },
        ..Settings::default()
    };
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let lines = || {
        let text = String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap();
        text.matches("not served").count()
    };
    tracing::subscriber::with_default(log, || {
        let content = Content::load(&settings).unwrap();
        assert_eq!(lines(), 1);
        fs::write(root.path().join("other"), "y").unwrap();
        let content = content.reload_if_changed(&settings).unwrap().expect("a file came");
        assert_eq!((content.files(), lines()), (2, 0));
        assert!(fifo("pipe2").success());
        fs::write(root.path().join("third"), "z").unwrap();
        let content = content.reload_if_changed(&settings).unwrap().expect("a file came");
        assert_eq!((content.files(), lines()), (3, 2));
        content.reload(&settings).unwrap();
        assert_eq!(lines(), 2);
    });
}

#[test]
fn names_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"\xff.txt")), "x").unwrap();
    let content = load(root.path(), LIMIT).unwrap();
    assert!(matches!(content.find(0, b"/\xff.txt"), Some(Entry::File(_))));
}

#[test]
fn a_tree_over_the_limit_is_refused_with_both_numbers() {
    let root = tree(&[("a", &"x".repeat(3000)), ("b", &"y".repeat(3000))]);
    let error = load(root.path(), 5000).unwrap_err();
    let Error::TooLarge { files: 2, needed_bytes: 6000..=8000, limit_bytes: 5000, .. } = error
    else {
        panic!("{error:?}");
    };
    let text = error.to_string();
    assert!(
        text.starts_with("--root ") && text.contains("5000") && text.contains("--memory-limit"),
        "{text}"
    );
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    let root = tree(&[("file", "x")]);
    for path in ["file", "none"] {
        let path = root.path().join(path);
        let error = load(&path, LIMIT).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn memory_is_counted() {
    let memory_bytes =
        |content: &str| load(tree(&[("a", content)]).path(), LIMIT).unwrap().memory_bytes();
    let (small, large) = (memory_bytes("x"), memory_bytes(&"x".repeat(10_001)));
    // With its checksums.
    assert!((10_150..10_250).contains(&(large - small)), "{small} {large}");
}

#[test]
fn the_built_in_page_stands_alone() {
    let content = Content::built_in();
    assert!(is_file(&content, "/") && is_file(&content, "/index.html"));
    let page = include_str!("built_in.html");
    assert!(!page.contains("http:") && !page.contains("https:"), "it refers to nothing elsewhere");
}

#[test]
fn locations_are_encoded() {
    assert_eq!(encode(b"/a b/\xc3\xa4?#%/"), "/a%20b/%C3%A4%3F%23%25/");
    assert_eq!(encode(b"/x\r\nSet-Cookie: y/"), "/x%0D%0ASet-Cookie:%20y/");
}

#[test]
fn equal_content_is_held_once() {
    let text = "x".repeat(10_000);
    let one = tree(&[("a", &text)]);
    let many = tree(&[("a", &text), ("b", &text), ("c/d.html", &text)]);
    let bytes = |root: &Path| load(root, LIMIT).unwrap().memory_bytes();
    let extra_bytes = bytes(many.path()) - bytes(one.path());
    assert!(extra_bytes < 3_000, "{extra_bytes}");
}

#[test]
fn a_reload_shares_what_did_not_change() {
    let text = "x".repeat(10_000);
    let root = tree(&[("a", &text), ("b", &text.replace('x', "y"))]);
    let site = Site { root: Some(root.path().into()), ..Site::default() };
    let settings = Settings { limit_bytes: 50_000, site, ..Settings::default() };
    let before = Content::load(&settings).unwrap();
    fs::write(root.path().join("b"), "new").unwrap();
    fs::write(root.path().join("c"), "more").unwrap();
    let after = before.reload(&settings).unwrap();
    let data = |content: &Content| {
        let known = content.known.iter().find(|(identity, _)| identity.bytes == 10_000).unwrap();
        std::sync::Arc::as_ptr(known.1)
    };
    assert_eq!(after.files(), 3);
    assert!(after.known.iter().count() == 3 && before.known.iter().count() == 2);
    let shared = |content: &Content| {
        content.known.iter().map(|(_, data)| std::sync::Arc::as_ptr(data)).collect::<Vec<_>>()
    };
    assert!(shared(&before).contains(&data(&after)), "the bytes of /a are there once");
    // Both together must fit.
    let tight = Settings { limit_bytes: after.memory_bytes() + 100, ..settings };
    fs::write(root.path().join("a"), text.replace('x', "z")).unwrap();
    let error = after.reload(&tight).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn the_name_selects_the_type_of_one_content() {
    let root = tree(&[("a.html", "<p>")]);
    symlink("a.html", root.path().join("b.txt")).unwrap();
    let content = load(root.path(), LIMIT).unwrap();
    assert_eq!((content.files(), content.known.iter().count()), (2, 1));
}

#[test]
fn a_fallback_without_a_file_is_told_when_it_is_loaded() {
    let root = tree(&[("index.html", "x"), ("page", "y")]);
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let warnings = || {
        let text = String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap();
        text.matches("the file of a fallback is missing").count()
    };
    let settings = |fallbacks: &[&str]| {
        let try_files = fallbacks.iter().map(|path| Template::path(path, 0).unwrap()).collect();
        let site = Site { root: Some(root.path().into()), try_files, ..Site::default() };
        Settings { limit_bytes: LIMIT, site, ..Settings::default() }
    };
    tracing::subscriber::with_default(log, || {
        Content::load(&settings(&["$0.html", "/index.html", "/"])).unwrap();
        assert_eq!(warnings(), 0);
        Content::load(&settings(&["/nofile", "/index.html"])).unwrap();
        assert_eq!(warnings(), 1);
        let settings = settings(&["/page"]);
        let content = Content::load(&settings).unwrap();
        assert_eq!(warnings(), 0);
        fs::remove_file(root.path().join("page")).unwrap();
        let directory = root.path().canonicalize().unwrap();
        let gone = [Changed { directory, name: b"page".to_vec() }];
        assert!(matches!(content.update(&settings, &gone), Update::Unknown));
        content.reload(&settings).unwrap();
        assert_eq!(warnings(), 1);
    });
}
