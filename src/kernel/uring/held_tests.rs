use super::*;
use crate::kernel::sys::Completion;
use crate::kernel::table::Table;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Receives each of `pieces` into a separate buffer.
fn filled(ring: &mut Ring, pieces: &[&[u8]]) -> Vec<Buffer> {
    let key = Table::new(1).insert(()).unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    ring.submit(|batch| batch.receive(near.as_fd(), key)).unwrap();
    let mut fill = |piece: &&[u8]| {
        far.write_all(piece).unwrap();
        ring.wait(Duration::from_secs(20)).unwrap();
        match ring.next() {
            Some(Completion::Received { input: Ok(Some(buffer)), .. }) => buffer,
            other => panic!("{other:?}"),
        }
    };
    pieces.iter().map(&mut fill).collect()
}

#[test]
fn held_bytes_come_out_in_order_and_their_buffers_go_back() {
    // The tests of `sys` fail if io_uring is required and not available.
    let Ok(mut ring) = Ring::new(4) else { return };
    let (mut held, mut list, mut other) = (Held::new(4), List::default(), List::default());
    let mut buffers = filled(&mut ring, &[b"--one ", b"else", b"two ", b"three"]).into_iter();
    held.push(&mut list, buffers.next().unwrap(), 2);
    held.push(&mut other, buffers.next().unwrap(), 0);
    buffers.for_each(|buffer| held.push(&mut list, buffer, 0));
    let mut buf = [0; 6];
    assert_eq!((held.peek(&list, &ring, &mut buf), &buf), (6, b"one tw"));
    assert_eq!((held.take(&mut list, &mut ring, &mut buf), &buf), (6, b"one tw"));
    assert_eq!(ring.free_buffers(), 1);
    assert_eq!((held.peek(&list, &ring, &mut buf[..2]), &buf[..2]), (2, &b"o "[..]));
    let mut rest = [0; 99];
    let n = held.take(&mut list, &mut ring, &mut rest);
    assert_eq!(&rest[..n], b"o three");
    assert!(list.is_empty() && ring.free_buffers() == 3);
    assert_eq!(held.take(&mut list, &mut ring, &mut rest), 0);
    held.clear(&mut other, &mut ring);
    assert!(other.is_empty() && ring.free_buffers() == 4);
    held.clear(&mut other, &mut ring);
    assert_eq!(ring.free_buffers(), 4);
}
