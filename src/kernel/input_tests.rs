use super::*;
use proptest::prelude::*;

fn cases() -> u32 {
    if cfg!(miri) { 1 } else { 256 }
}

fn longest() -> usize {
    if cfg!(miri) { 12 } else { 120 }
}

/// One step in the life of one of a few connections.
#[derive(Clone, Debug)]
enum Step {
    Read(usize, usize),
    Consume(usize, usize),
    Release(usize),
}

const CONNECTIONS: usize = 5;

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![0..100usize, 0..3000usize, 0..20_000usize];
    prop_oneof![
        4 => (0..CONNECTIONS, length.clone()).prop_map(|(who, n)| Step::Read(who, n)),
        3 => (0..CONNECTIONS, length).prop_map(|(who, n)| Step::Consume(who, n)),
        1 => (0..CONNECTIONS).prop_map(Step::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the steps: each connection's kept bytes are those of a vector, none is lost or seen by another,
    /// and all blocks are free at the end.
    #[test]
    fn kept_input_is_a_byte_vector(steps in proptest::collection::vec(step(), 1..longest())) {
        let mut inputs = Inputs::new(2, 2);
        let mut kept: [Kept; CONNECTIONS] = Default::default();
        let mut model: [Vec<u8>; CONNECTIONS] = Default::default();
        let mut stream = (0u32..).map(|i| ((i * 31) >> 3) as u8);
        for step in steps {
            match step {
                Step::Read(who, n) if kept[who].is_empty() => {
                    let bytes: Vec<u8> = stream.by_ref().take(n.min(inputs.largest_free())).collect();
                    inputs.keep(&mut kept[who], &bytes);
                    model[who].extend(bytes);
                }
                Step::Read(who, n) => {
                    if let Some(space) = inputs.space(&mut kept[who]) {
                        prop_assert!(!space.is_empty());
                        let n = n.min(space.len());
                        space[..n].iter_mut().zip(stream.by_ref()).for_each(|(to, from)| *to = from);
                        model[who].extend_from_slice(&space[..n]);
                        inputs.extend(&mut kept[who], n);
                    } else {
                        prop_assert!(model[who].len() == INPUT_BYTES
                            || model[who].len() == SMALL_BYTES && inputs.large.free.is_empty());
                    }
                }
                Step::Consume(who, n) => {
                    let n = n.min(model[who].len());
                    if !kept[who].is_empty() {
                        inputs.consume(&mut kept[who], n);
                    }
                    model[who].drain(..n);
                }
                Step::Release(who) => {
                    inputs.release(&mut kept[who]);
                    model[who].clear();
                }
            }
            for (kept, model) in kept.iter().zip(&model) {
                prop_assert_eq!(inputs.bytes(kept), model);
                prop_assert_eq!((kept.len(), kept.is_empty()), (model.len(), model.is_empty()));
            }
        }
        kept.iter_mut().for_each(|kept| inputs.release(kept));
        prop_assert_eq!(inputs.free(), (2, 2));
    }
}

#[test]
fn what_outgrows_a_small_block_moves_to_a_large_one_and_its_rest_back() {
    let mut inputs = Inputs::new(1, 1);
    let mut kept = Kept::default();
    inputs.keep(&mut kept, &[7; SMALL_BYTES - 10]);
    assert_eq!(kept.block.map(|(class, _)| class), Some(Class::Small));
    assert_eq!(inputs.space(&mut kept).unwrap().len(), INPUT_BYTES - SMALL_BYTES + 10);
    inputs.consume(&mut kept, SMALL_BYTES - 20);
    assert_eq!(kept.block.map(|(class, _)| class), Some(Class::Small));
    assert_eq!(inputs.bytes(&kept), [7; 10]);
}

#[test]
fn without_a_large_block_the_small_one_is_filled_to_the_last_byte() {
    let mut inputs = Inputs::new(1, 0);
    let mut kept = Kept::default();
    assert_eq!(inputs.largest_free(), SMALL_BYTES);
    inputs.keep(&mut kept, &[1; SMALL_BYTES - 1]);
    assert_eq!(inputs.largest_free(), 0);
    assert_eq!(inputs.space(&mut kept).unwrap().len(), 1);
    inputs.extend(&mut kept, 1);
    assert!(inputs.space(&mut kept).is_none());
}
