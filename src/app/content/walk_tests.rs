use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn found(root: &Path) -> Tree {
    walk_with(root, Settings { limit_bytes: usize::MAX, dotfiles: false, disk: false })
}

fn walk_with(root: &Path, settings: Settings) -> Tree {
    walk(&opened(root), settings, None, |_| {}).unwrap()
}

fn opened(root: &Path) -> Root {
    Root::open(root.canonicalize().unwrap()).unwrap()
}

fn write(root: &Path, path: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

/// The request paths of files, in the order they were found.
fn paths(tree: &Tree) -> Vec<String> {
    tree.paths.iter().map(|(path, _)| String::from_utf8(path.clone()).unwrap()).collect()
}

/// `count` directories, each with a file and, in `n`, links to all others.
fn linked_to_each_other(count: usize) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for this in 0..count {
        write(root.path(), &format!("p{this}/f"));
        fs::create_dir(root.path().join(format!("p{this}/n"))).unwrap();
        for other in (0..count).filter(|other| *other != this) {
            symlink(format!("../../p{other}"), root.path().join(format!("p{this}/n/p{other}")))
                .unwrap();
        }
    }
    root
}

#[test]
fn directories_that_link_to_each_other_have_a_bounded_number_of_paths() {
    const COUNT: usize = 12;
    let root = linked_to_each_other(COUNT);
    let tree = found(root.path());
    assert_eq!(tree.files.len(), COUNT, "each file is read once");
    let paths = paths(&tree);
    let most = COUNT * (1 + LINKED_PATHS_MAX as usize);
    assert_eq!(paths.len(), most, "12 directories have more than 10⁹ paths");
    assert_eq!(tree.directories.len(), 2 * most + 1, "each of them with its n, and the root");
    for this in 0..COUNT {
        assert!(paths[..COUNT].contains(&format!("/p{this}/f")), "the own paths come first");
        for other in (0..COUNT).filter(|other| *other != this) {
            assert!(paths.contains(&format!("/p{this}/n/p{other}/f")), "all of one link are there");
        }
    }
    let lines = tree.skipped.text();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("a path through several links; 64 others"), "{lines:?}");
}

#[test]
fn a_tree_beyond_the_limit_is_only_counted() {
    let root = linked_to_each_other(12);
    let tree = walk_with(root.path(), Settings { limit_bytes: 100, dotfiles: false, disk: false });
    assert_eq!((tree.files.len(), tree.paths.len(), tree.directories.len()), (12, 0, 1 + 2 * 12));
    assert!(tree.overhead_bytes > 12 * FILE_OVERHEAD_BYTES, "{}", tree.overhead_bytes);
}

#[test]
fn all_paths_through_one_link_are_found() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "shared/file");
    let count = 2 * LINKED_PATHS_MAX as usize;
    for site in 0..count {
        fs::create_dir(root.path().join(format!("{site}"))).unwrap();
        symlink("../shared", root.path().join(format!("{site}/shared"))).unwrap();
    }
    let tree = found(root.path());
    assert_eq!((tree.files.len(), tree.paths.len()), (1, count + 1));
    assert!(tree.skipped.text().is_empty());
}

#[test]
fn links_that_lead_back_end_the_path_and_are_told_once() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a/b/file");
    write(root.path(), "a/other");
    symlink("..", root.path().join("a/b/up")).unwrap();
    symlink(".", root.path().join("a/self")).unwrap();
    symlink("..", root.path().join("a/root")).unwrap();
    symlink("a/b", root.path().join("short")).unwrap();
    let tree = found(root.path());
    // The second path of b does not lead through a, so that its link to a is followed.
    assert_eq!(paths(&tree), ["/a/other", "/a/b/file", "/short/file", "/short/up/other"]);
    let lines = tree.skipped.text();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line.ends_with("a symbolic link to a directory that contains it (+0)"))
    );
}

#[test]
fn a_file_of_several_names_is_read_once() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a.html");
    symlink("a.html", root.path().join("b.htm")).unwrap();
    symlink("a.html", root.path().join("c.txt")).unwrap();
    fs::hard_link(root.path().join("a.html"), root.path().join("d.html")).unwrap();
    let tree = found(root.path());
    assert_eq!(paths(&tree), ["/a.html", "/b.htm", "/c.txt", "/d.html"]);
    let files: Vec<usize> = tree.paths.iter().map(|(_, file)| *file).collect();
    assert_eq!((files, tree.files.len()), (vec![0, 0, 0, 0], 1));
}

#[test]
fn names_with_a_dot_in_front_are_left_out_but_well_known() {
    let root = tempfile::tempdir().unwrap();
    for path in [
        ".well-known/acme-challenge/token",
        ".well-known/.hidden",
        ".git/config",
        ".env",
        "sub/.htpasswd",
        "sub/..data/file",
        "sub/a.b",
    ] {
        write(root.path(), path);
    }
    // As Kubernetes mounts a ConfigMap.
    symlink("..data/file", root.path().join("sub/file")).unwrap();
    let tree = found(root.path());
    let served = ["/.well-known/acme-challenge/token", "/sub/a.b", "/sub/file"];
    let mut all = paths(&tree);
    all.sort();
    assert_eq!(all, served);
    let lines = tree.skipped.text();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].ends_with(".env: its name begins with a dot; --dotfiles serves it (+4)"),
        "{lines:?}"
    );

    let tree =
        walk_with(root.path(), Settings { limit_bytes: usize::MAX, dotfiles: true, disk: false });
    assert_eq!((tree.paths.len(), tree.skipped.text().len()), (8, 0));
}

#[test]
fn what_is_neither_file_nor_directory_is_named() {
    let root = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(root.path().join("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    symlink("nowhere", root.path().join("dangling")).unwrap();
    symlink("/dev/null", root.path().join("outside")).unwrap();
    let tree = found(root.path());
    assert!(tree.paths.is_empty());
    let lines = tree.skipped.text().join("\n");
    for expected in [
        "pipe: not a regular file or directory but a FIFO (+0)",
        "socket: not a regular file or directory but a socket (+0)",
        "outside: a symbolic link out of the root, to /dev/null (+0)",
        "dangling: No such file or directory",
    ] {
        assert!(lines.contains(expected), "{lines}");
    }
}

#[test]
fn links_to_dotfiles_are_left_out_but_those_of_a_config_map() {
    let root = tempfile::tempdir().unwrap();
    for path in [".git/config", ".env", "..2026_01/file", ".well-known/token", "d/plain"] {
        write(root.path(), path);
    }
    let links = [
        ("..2026_01", "..data"),
        ("..data/file", "file"),
        ("..data", "map"),
        (".git", "git"),
        (".git/config", "cfg"),
        ("../.env", "d/env"),
        (".env", ".alias"),
        (".alias", "alias"),
        (".well-known/token", "token"),
        (".git/../d/plain", "plain"),
    ];
    for (to, link) in links {
        symlink(to, root.path().join(link)).unwrap();
    }
    // An absolute link into the root is as any other.
    let canonical = root.path().canonicalize().unwrap();
    symlink(canonical.join("d/plain"), root.path().join("absolute")).unwrap();
    symlink(canonical.join(".env"), root.path().join("absolute-env")).unwrap();
    let tree = found(root.path());
    let mut all = paths(&tree);
    all.sort();
    let served =
        ["/.well-known/token", "/absolute", "/d/plain", "/file", "/map/file", "/plain", "/token"];
    assert_eq!(all, served);
    let lines = tree.skipped.text().join("\n");
    assert_eq!(
        lines.matches("a symbolic link to a name that begins with a dot").count(),
        5,
        "{lines}"
    );

    let tree =
        walk_with(root.path(), Settings { limit_bytes: usize::MAX, dotfiles: true, disk: false });
    assert!(paths(&tree).contains(&"/git/config".to_owned()) && tree.skipped.text().is_empty());
}

/// Puts a link to a directory with a file of the same name in the place of `root/d`.
fn swap(root: &Path, outside: &Path) {
    fs::rename(root.join("d"), root.join("was")).unwrap();
    symlink(outside, root.join("d")).unwrap();
}

#[test]
fn a_directory_that_is_swapped_before_it_is_listed_is_left_out() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(root.path(), "d/file");
    write(outside.path(), "secret");
    let mut visits = 0;
    let tree = walk(
        &opened(root.path()),
        Settings { limit_bytes: usize::MAX, dotfiles: false, disk: false },
        None,
        |_| {
            visits += 1;
            if visits == 1 {
                // The root was listed, and with it d was found to be a directory.
                swap(root.path(), outside.path());
            }
        },
    );
    let tree = tree.unwrap();
    assert_eq!((paths(&tree), visits), (Vec::<String>::new(), 2));
    assert_eq!(tree.skipped.text().len(), 1, "{:?}", tree.skipped.text());
}

#[test]
fn a_directory_that_another_takes_the_place_of_is_not_listed_as_the_first() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "d/file");
    write(root.path(), ".hidden/secret");
    let mut visits = 0;
    let tree = walk(
        &opened(root.path()),
        Settings { limit_bytes: usize::MAX, dotfiles: false, disk: false },
        None,
        |_| {
            visits += 1;
            if visits == 1 {
                fs::rename(root.path().join("d"), root.path().join("was")).unwrap();
                fs::rename(root.path().join(".hidden"), root.path().join("d")).unwrap();
            }
        },
    );
    let tree = tree.unwrap();
    assert!(paths(&tree).is_empty());
    assert!(tree.skipped.text().join("").contains("another directory took its place"));
}

#[test]
fn a_directory_that_is_swapped_before_its_files_are_read_does_not_lead_out() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(root.path(), "d/file");
    write(outside.path(), "file");
    let opened = opened(root.path());
    let tree = walk(
        &opened,
        Settings { limit_bytes: usize::MAX, dotfiles: false, disk: false },
        None,
        |_| {},
    )
    .unwrap();
    assert!(opened.file(&tree.files[0].path).is_ok());
    swap(root.path(), outside.path());
    assert!(opened.file(&tree.files[0].path).is_err());
}
