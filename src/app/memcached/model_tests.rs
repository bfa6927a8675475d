//! Compares the whole handler with a plain map ([`map`]): text, meta and binary requests on three
//! connections to three workers with one store. Pipelines are cut at random bytes and at every
//! byte. Values have 0 bytes to nearly 1 MB. Only the test advances the clock.
//!
//! SIMOOM_SEED=N repeats a failed run; SIMOOM_RUNS=N performs N runs.

#[path = "model_tests/binary.rs"]
mod binary;
#[path = "model_tests/map.rs"]
mod map;
#[path = "model_tests/meta.rs"]
mod meta;
#[path = "model_tests/text.rs"]
mod text;

use super::*;
use crate::store::Settings;
use map::Model;
use simoom_tcp::testing::seeds;

/// Requests of a run.
const REQUESTS: usize = 600;
/// Pipelines up to this long are cut at every byte at times.
const CUT_WHOLLY_BYTES: usize = 20_000;

/// A request, and its answer.
type Exchange = (Vec<u8>, Vec<u8>);

/// A pipeline on one connection, cut anywhere; both are at the model's time.
fn exchange(
    line: &mut Line<Memcached>,
    model: &mut Model,
    next: fn(&mut Model) -> Exchange,
    seed: u64,
) -> usize {
    line.app.clock(Seconds::of(model.now.into()));
    let requests = 1 + model.below(12) as usize;
    let (asked, expected): (Vec<_>, Vec<_>) = (0..requests).map(|_| next(model)).unzip();
    let (input, expected) = (asked.concat(), expected.concat());
    let at_every_byte = input.len() <= CUT_WHOLLY_BYTES && model.chance(300);
    let (mut answers, mut rest) = (Vec::new(), &input[..]);
    while !rest.is_empty() {
        let end = if at_every_byte { 1 } else { [20, 2000, 100_000][model.below(3) as usize] };
        let (chunk, behind) = rest.split_at(rest.len().min(1 + model.below(end) as usize));
        line.offer(chunk);
        answers.extend(line.take());
        rest = behind;
    }
    if answers != expected || line.buffered() != 0 {
        let told = |bytes: &[u8]| bytes[..bytes.len().min(400)].escape_ascii().to_string();
        let same =
            answers.iter().zip(&expected).take_while(|(a, b)| a == b).count().saturating_sub(40);
        let asked: Vec<String> = asked.iter().map(|request| told(request)).collect();
        panic!(
            "SIMOOM_SEED={seed}: behind\n  {}\n  answered …{}\n  expected …{}",
            asked.join("\n  "),
            told(&answers[same..]),
            told(&expected[same..])
        );
    }
    requests
}

#[test]
fn every_answer_is_that_of_a_plain_map() {
    for seed in seeds(4) {
        let settings =
            Settings { memory_bytes: 64 << 20, hash_key: Some([seed, 2]), ..Settings::default() };
        let options = Options { workers: 3, threads: 3, ..Options::default() };
        let shared = Shared::new(Store::new(&settings).unwrap(), options, NOW);
        let mut lines =
            [0, 1, 2].map(|worker| Line::open(Memcached::new(shared.clone(), worker, 4), 11211));
        let mut model = Model::new(seed, NOW as u32);
        let mut done = 0;
        while done < REQUESTS {
            let at = model.below(3) as usize;
            let next = [Model::text, Model::meta, Model::binary][at];
            done += exchange(&mut lines[at], &mut model, next, seed);
            if model.chance(300) {
                let seconds = model.below(20) as u32;
                model.pass(seconds);
            }
        }
        assert_eq!(
            shared.store().statistics().evictions,
            0,
            "SIMOOM_SEED={seed}: the store forgot what it had room for"
        );
    }
}
