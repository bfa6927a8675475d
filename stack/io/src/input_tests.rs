use super::*;
use proptest::prelude::*;

/// Large buffers of the size that the kernel transport has.
const LARGER_BYTES: usize = 16 * 1024;
const CONNECTIONS: usize = 5;

/// One step in the life of one of a few connections.
#[derive(Clone, Debug)]
enum Step {
    Append(usize, usize),
    Read(usize, usize),
    Consume(usize, usize),
    Shrink(usize),
    Clear(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let length = || prop_oneof![0..100usize, 0..3000usize, 0..20_000usize];
    let who = || 0..CONNECTIONS;
    prop_oneof![
        3 => (who(), length()).prop_map(|(who, n)| Step::Append(who, n)),
        3 => (who(), length()).prop_map(|(who, n)| Step::Read(who, n)),
        3 => (who(), length()).prop_map(|(who, n)| Step::Consume(who, n)),
        1 => who().prop_map(Step::Shrink),
        1 => who().prop_map(Step::Clear),
    ]
}

proptest! {
    /// After any steps: each connection's held bytes are those of a vector, none is lost or seen by
    /// another, what is promised to be free is, and every buffer is free at the end.
    #[test]
    fn held_input_is_a_byte_vector(steps in proptest::collection::vec(step(), 1..120)) {
        let mut pool = Pool::with_large_bytes(2, 2, LARGER_BYTES);
        let mut buffers = [InputBuffer::default(); CONNECTIONS];
        let mut model: [Vec<u8>; CONNECTIONS] = Default::default();
        let mut stream = (0u32..).map(|i| ((i * 31) >> 3) as u8);
        for step in steps {
            match step {
                Step::Append(who, n) => {
                    let surely = if model[who].is_empty() { pool.largest_free().min(n) } else { 0 };
                    let bytes: Vec<u8> = stream.by_ref().take(n).collect();
                    let taken = buffers[who].append(&mut pool, &bytes);
                    prop_assert!(taken >= surely);
                    model[who].extend_from_slice(&bytes[..taken]);
                }
                Step::Read(who, n) => {
                    let space = buffers[who].spare(&mut pool);
                    let n = n.min(space.len());
                    space[..n].iter_mut().zip(stream.by_ref()).for_each(|(to, from)| *to = from);
                    model[who].extend_from_slice(&space[..n]);
                    let full = [0, LARGER_BYTES].contains(&model[who].len());
                    let filled = model[who].len() == SMALL_BYTES;
                    let is_empty = space.is_empty();
                    buffers[who].extend(&mut pool, n);
                    prop_assert!(!is_empty || full || filled && pool.free().1 == 0);
                }
                Step::Consume(who, n) => {
                    let n = n.min(model[who].len());
                    buffers[who].consume(&mut pool, n);
                    model[who].drain(..n);
                }
                Step::Shrink(who) => buffers[who].shrink(&mut pool),
                Step::Clear(who) => {
                    buffers[who].clear(&mut pool);
                    model[who].clear();
                }
            }
            for (buffer, model) in buffers.iter().zip(&model) {
                prop_assert_eq!(buffer.bytes(&pool), model);
                prop_assert_eq!((buffer.len(), buffer.is_empty()), (model.len(), model.is_empty()));
            }
        }
        buffers.iter_mut().for_each(|buffer| buffer.clear(&mut pool));
        prop_assert_eq!(pool.free(), (2, 2));
    }

    /// With a buffer of either size to itself, a connection holds whatever fits a large one.
    #[test]
    fn only_a_full_large_buffer_refuses(steps in proptest::collection::vec((any::<bool>(), 0usize..9000), 1..80)) {
        let mut pool = Pool::new(1, 1);
        let (mut buffer, mut held) = (InputBuffer::default(), 0);
        for (append, n) in steps {
            if append {
                let taken = buffer.append(&mut pool, &vec![1; n]);
                prop_assert_eq!(taken, n.min(LARGE_BYTES - held));
                held += taken;
            } else {
                let n = n.min(held);
                buffer.consume(&mut pool, n);
                held -= n;
            }
        }
    }
}

#[test]
fn an_empty_pool_takes_what_it_can() {
    let mut pool = Pool::new(1, 0);
    let (mut first, mut second) = (InputBuffer::default(), InputBuffer::default());
    assert_eq!(first.append(&mut pool, &[1; 3000]), SMALL_BYTES);
    assert_eq!(second.append(&mut pool, &[2; 10]), 0);
    first.consume(&mut pool, SMALL_BYTES);
    assert_eq!(second.append(&mut pool, &[2; 10]), 10);
}

#[test]
fn what_outgrows_a_small_buffer_moves_to_a_large_one_and_its_rest_back() {
    let mut pool = Pool::with_large_bytes(1, 1, LARGER_BYTES);
    let mut buffer = InputBuffer::default();
    buffer.append(&mut pool, &[7; SMALL_BYTES - 10]);
    assert_eq!(pool.free(), (0, 1));
    assert_eq!(buffer.spare(&mut pool).len(), LARGER_BYTES - SMALL_BYTES + 10);
    assert_eq!(pool.free(), (1, 0));
    buffer.shrink(&mut pool);
    assert_eq!(pool.free(), (1, 0));
    buffer.consume(&mut pool, SMALL_BYTES - 20);
    buffer.shrink(&mut pool);
    assert_eq!(pool.free(), (0, 1));
    assert_eq!(buffer.bytes(&pool), [7; 10]);
}

#[test]
fn without_a_large_buffer_the_small_one_is_filled_to_the_last_byte() {
    let mut pool = Pool::with_large_bytes(1, 0, LARGER_BYTES);
    let mut buffer = InputBuffer::default();
    assert_eq!(pool.largest_free(), SMALL_BYTES);
    buffer.append(&mut pool, &[1; SMALL_BYTES - 1]);
    assert_eq!(pool.largest_free(), 0);
    assert_eq!(buffer.spare(&mut pool).len(), 1);
    buffer.extend(&mut pool, 1);
    assert!(buffer.spare(&mut pool).is_empty());
}

#[test]
fn nothing_is_read_behind_nothing() {
    assert!(InputBuffer::default().spare(&mut Pool::new(1, 1)).is_empty());
}
