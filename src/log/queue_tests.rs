use super::*;
use std::sync::Mutex;

/// A writer that gets stuck whenever its gate is closed, and what it has written.
#[derive(Clone)]
struct Gated {
    text: Arc<Mutex<String>>,
    entered: Sender<()>,
    gate: Receiver<()>,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.try_send(());
        // Goes on when the test drops its end of the gate.
        let _ = self.gate.recv();
        self.text.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue whose log thread is stuck in writing the line "first", until `gate` is dropped.
struct Stuck {
    queue: Queue,
    text: Arc<Mutex<String>>,
    gate: Sender<()>,
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(1);

fn stuck() -> Stuck {
    let (gate, closed) = bounded(0);
    let (entered, has_entered) = bounded(1);
    let text = Arc::new(Mutex::new(String::new()));
    let writer = Gated { text: text.clone(), entered, gate: closed };
    let mut reports = writer.clone();
    let report = move |lost| writeln!(reports, "lost {lost}").unwrap();
    let queue = Queue::start(writer, report).unwrap();
    queue.push(b"first\n");
    has_entered.recv_timeout(LONG).unwrap();
    Stuck { queue, text, gate }
}

impl Stuck {
    /// Lets the writer go on, waits for it, and returns all that it wrote.
    fn written(self) -> String {
        drop(self.gate);
        assert!(self.queue.flush(LONG));
        let text = self.text.lock().unwrap();
        text.clone()
    }
}

#[test]
fn a_stuck_writer_costs_lines_but_no_time_and_the_order_is_kept() {
    let stuck = stuck();
    // Returns although nothing is written: the test would hang otherwise.
    (0..LINES + 10).for_each(|n| stuck.queue.push(format!("{n}\n").as_bytes()));
    assert_eq!((stuck.queue.lost(), stuck.text.lock().unwrap().as_str()), (10, ""));
    let lines: String = (0..LINES).map(|n| format!("{n}\n")).collect();
    assert_eq!(stuck.written(), format!("first\n{lines}lost 10\n"));
}

#[test]
fn long_lines_fill_the_queue_by_their_bytes() {
    let stuck = stuck();
    let line = [&[b'x'; BYTES / 4 - 1][..], b"\n"].concat();
    (0..5).for_each(|_| stuck.queue.push(&line));
    // "first" is not written yet, and so takes part of the space of the fourth line.
    assert_eq!(stuck.queue.lost(), 2);
    let queue = stuck.queue.clone();
    assert!(stuck.written().ends_with("x\nlost 2\n"));
    assert_eq!(queue.level.bytes.load(Ordering::Relaxed), 0);
    queue.push(&line);
    assert_eq!(queue.lost(), 2);
}

#[test]
fn losses_are_reported_once_each() {
    let mut stuck = stuck();
    (0..LINES + 1).for_each(|_| stuck.queue.push(b"a\n"));
    let (gate, _) = bounded(0);
    drop(std::mem::replace(&mut stuck.gate, gate));
    stuck.queue.flush(LONG);
    stuck.queue.push(b"b\n");
    assert!(stuck.written().ends_with("a\nlost 1\nb\n"));
}

#[test]
fn flush_and_print_give_up_in_time() {
    let stuck = stuck();
    assert!(!stuck.queue.flush(SHORT));
    assert!(!stuck.queue.print("last\n", SHORT));
    // A full queue has no space for the request either.
    (0..LINES).for_each(|_| stuck.queue.push(b"a\n"));
    assert!(!stuck.queue.flush(SHORT));
    let lost = stuck.queue.lost();
    assert!(!stuck.queue.print("never\n", SHORT));
    assert_eq!(stuck.queue.lost(), lost + 1);
    let text = stuck.written();
    assert!(text.starts_with("first\nlast\na\n") && !text.contains("never"), "{text}");
}

#[test]
fn print_comes_after_earlier_lines() {
    let stuck = stuck();
    stuck.queue.push(b"second\n");
    let (queue, text, gate) = (stuck.queue, stuck.text, stuck.gate);
    drop(gate);
    assert!(queue.print("last\n", LONG));
    assert_eq!(text.lock().unwrap().as_str(), "first\nsecond\nlast\n");
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (reports, reported) = bounded(8);
    let queue = Queue::start(Closed, move |lost| reports.send(lost).unwrap()).unwrap();
    queue.push(b"a\n");
    queue.flush(LONG);
    assert_eq!((queue.lost(), reported.try_iter().sum::<u64>()), (1, 1));
}
