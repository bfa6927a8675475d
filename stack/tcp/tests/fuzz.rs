//! The fuzzer's entry points under `cargo test`: over the committed corpus, over mutations of it,
//! over random bytes. The corpus is files made by hand, and for each target one of what libFuzzer
//! found. For a real hunt see `stack/tcp/fuzz`.

use proptest::collection::vec;
use proptest::prelude::*;
use simoom_tcp::testing::fuzz;
use std::path::PathBuf;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut found: Vec<_> = std::fs::read_dir(&folder)
        .expect("the corpus")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            (path.display().to_string(), std::fs::read(&path).expect("a readable file"))
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    let text = std::fs::read_to_string(folder.with_extension("hex")).expect("what was found");
    let inputs = text.lines().zip(1..).filter(|(line, _)| !line.starts_with('#'));
    found.extend(inputs.map(|(line, number)| (format!("{target}.hex:{number}"), bytes(line))));
    found
}

/// Bytes as two digits each.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> =
        hex.chars().map(|digit| digit.to_digit(16).expect("a hexadecimal digit")).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// A member of the corpus with bytes changed, cut out or put in.
fn mutated(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, bytes)| bytes).collect();
    let changes = vec((any::<prop::sample::Index>(), 0u8..3, any::<u8>()), 1..20);
    (prop::sample::select(all), changes).prop_map(|(mut bytes, changes)| {
        for (at, kind, value) in changes {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, value),
                _ if at == bytes.len() => {}
                1 => bytes[at] = value,
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

#[test]
fn the_corpus() {
    for (name, bytes) in corpus("frames") {
        eprintln!("{name}");
        fuzz::frames(&bytes);
    }
    for (name, bytes) in corpus("operations") {
        eprintln!("{name}");
        fuzz::operations(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn frames_of_random_bytes(data in vec(any::<u8>(), 0..500)) {
        fuzz::frames(&data);
    }

    #[test]
    fn frames_of_the_corpus_mutated(data in mutated("frames")) {
        fuzz::frames(&data);
    }

    #[test]
    fn operations_of_random_bytes(data in vec(any::<u8>(), 0..300)) {
        fuzz::operations(&data);
    }

    #[test]
    fn operations_of_the_corpus_mutated(data in mutated("operations")) {
        fuzz::operations(&data);
    }
}
