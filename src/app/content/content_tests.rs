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
    Content::load(Some(root), Settings { limit_bytes, dotfiles: false })
}

fn is_file(content: &Content, path: &str) -> bool {
    matches!(content.find(path.as_bytes()), Some(Entry::File(_)))
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
    assert_eq!(content.find(b"/"), content.find(b"/index.html"));
    assert!(matches!(content.find(b"/sub"), Some(Entry::Redirect(_))));
    for path in ["", "/bare", "/bare/", "/a b.txt/", "/none", "//"] {
        assert_eq!(content.find(path.as_bytes()), None, "{path}");
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
        content.find(b"/inside.txt"),
        content.find(b"/again/file.txt"),
        "its bytes are there once"
    );
    assert_eq!(content.files(), 1);
    for path in ["/secret", "/outside/secret", "/dangling", "/loop/inside.txt", "/loop"] {
        assert_eq!(content.find(path.as_bytes()), None, "{path}");
    }
}

#[test]
fn names_with_a_dot_in_front_are_served_if_asked() {
    let root = tree(&[(".env", "x"), (".well-known/a", "y")]);
    let with = |dotfiles| {
        Content::load(Some(root.path()), Settings { limit_bytes: LIMIT, dotfiles }).unwrap()
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

#[test]
fn names_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"\xff.txt")), "x").unwrap();
    let content = load(root.path(), LIMIT).unwrap();
    assert!(matches!(content.find(b"/\xff.txt"), Some(Entry::File(_))));
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
    assert!((10_000..10_100).contains(&(large - small)), "{small} {large}");
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
