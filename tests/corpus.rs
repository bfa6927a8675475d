//! What libFuzzer found worth keeping, offered to the handlers in pieces and as a whole:
//! `tests/corpus` holds the inputs that together reach all that a run of `tests/fuzz` reached, one
//! a file.

use simoom::app::testing::{fuzz_http, fuzz_memcached};
use std::path::PathBuf;

/// Offers every input of a target's corpus; the name of the one that failed is the last one
/// printed.
fn replay(target: &str, offer: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let entries = std::fs::read_dir(folder).expect("the corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() > 100, "{} inputs", paths.len());
    for path in paths {
        eprintln!("{}", path.display());
        offer(&std::fs::read(&path).expect("a readable file"));
    }
}

#[test]
fn http() {
    replay("http", fuzz_http);
}

#[test]
fn memcached() {
    replay("memcached", fuzz_memcached);
}
