use super::*;
use crate::app::testing::{self, Line, NOW, fuzz_resp};
use crate::handler::{Handler, Seconds};
use crate::store::Settings;
use proptest::prelude::*;

fn store() -> Arc<Store> {
    let settings =
        Settings { memory_bytes: 8 << 20, hash_key: Some([1, 2]), ..Settings::default() };
    Store::new(&settings).expect("the bounds are kept")
}

fn app() -> Framed<Resp, Commands> {
    let mut app = application(store());
    app.clock(Seconds::of(NOW));
    app
}

fn answers(input: &[u8], sizes: &[usize], narrow: bool) -> (String, bool) {
    let (answers, closed) = testing::answers(app(), 6379, input, sizes, narrow);
    (String::from_utf8_lossy(&answers).into_owned(), closed)
}

/// A command as an array of bulk strings.
fn array(words: &[&str]) -> String {
    let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    format!("*{}\r\n{}", words.len(), words.iter().map(bulk).collect::<String>())
}

/// Commands with their answers, in their order over one store.
#[rustfmt::skip]
const TALK: &[(&str, &str)] = &[
    ("PING", "+PONG\r\n"),
    ("ping hello", "$5\r\nhello\r\n"),
    ("PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
    ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
    ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
    ("HELLO 3 AUTH a b", "-ERR Syntax error in HELLO option: only SETNAME is known\r\n"),
    ("hello 3 SETNAME me", concat!("%5\r\n$6\r\nserver\r\n$6\r\nsimoom\r\n$7\r\nversion\r\n$5\r\n",
        env!("CARGO_PKG_VERSION"), "\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\n",
        "master\r\n$5\r\nproto\r\n:3\r\n")),
    ("GET none", "_\r\n"),
    ("SET none 1 XX", "_\r\n"),
    ("HELLO 2", concat!("*10\r\n$6\r\nserver\r\n$6\r\nsimoom\r\n$7\r\nversion\r\n$5\r\n",
        env!("CARGO_PKG_VERSION"), "\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\n",
        "master\r\n$5\r\nproto\r\n:2\r\n")),
    ("ECHO hello", "$5\r\nhello\r\n"),
    ("ECHO", "-ERR wrong number of arguments for 'echo' command\r\n"),
    ("GET a", "$-1\r\n"),
    ("SET a 1", "+OK\r\n"),
    ("GET a", "$1\r\n1\r\n"),
    ("TTL a", ":-1\r\n"),
    ("TTL none", ":-2\r\n"),
    ("SET a 2 NX", "$-1\r\n"),
    ("SET a 2 xx", "+OK\r\n"),
    ("SET b 2 XX", "$-1\r\n"),
    ("SET b 2 NX EX 100", "+OK\r\n"),
    ("TTL b", ":100\r\n"),
    ("SET b 3", "+OK\r\n"),
    ("TTL b", ":-1\r\n"),
    ("SET c 1 PX 1500", "+OK\r\n"),
    ("TTL c", ":2\r\n"),
    ("SET c 1 PX 2000", "+OK\r\n"),
    ("TTL c", ":2\r\n"),
    ("INCR c", ":2\r\n"),
    ("TTL c", ":2\r\n"),
    ("SET c 1 EX 0", "-ERR invalid expire time in 'set' command\r\n"),
    ("SET c 1 EX -1", "-ERR invalid expire time in 'set' command\r\n"),
    ("SET c 1 EX x", "-ERR value is not an integer or out of range\r\n"),
    ("SET c 1 EX", "-ERR syntax error\r\n"),
    ("SET c 1 EX 1 PX 1", "-ERR syntax error\r\n"),
    ("SET c 1 NX XX", "-ERR syntax error\r\n"),
    ("SET c 1 KEEP", "-ERR syntax error\r\n"),
    ("SET c", "-ERR wrong number of arguments for 'set' command\r\n"),
    ("EXISTS a b none a", ":3\r\n"),
    ("DEL a none b", ":2\r\n"),
    ("EXISTS a b", ":0\r\n"),
    ("INCR n", ":1\r\n"),
    ("DECR n", ":0\r\n"),
    ("DECR n", ":-1\r\n"),
    ("INCRBY n 41", ":40\r\n"),
    ("DECRBY n -2", ":42\r\n"),
    ("GET n", "$2\r\n42\r\n"),
    ("INCRBY n 1.5", "-ERR value is not an integer or out of range\r\n"),
    ("SET n 9223372036854775807", "+OK\r\n"),
    ("INCR n", "-ERR increment or decrement would overflow\r\n"),
    ("DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n"),
    ("SET n 9223372036854775808", "+OK\r\n"),
    ("INCR n", "-ERR value is not an integer or out of range\r\n"),
    ("SET n +1", "+OK\r\n"),
    ("INCR n", "-ERR value is not an integer or out of range\r\n"),
    ("COMMAND", "-ERR unknown command 'COMMAND', with args beginning with: \r\n"),
    ("foo a b", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' \r\n"),
];

#[test]
fn commands_as_arrays_and_inline_whatever_the_split() {
    let expected: String = TALK.iter().map(|(_, answer)| *answer).collect();
    let inline: String = TALK.iter().map(|(command, _)| format!("{command}\r\n")).collect();
    let words = |command: &str| array(&command.split(' ').collect::<Vec<_>>());
    let arrays: String = TALK.iter().map(|(command, _)| words(command)).collect();
    for input in [inline, arrays] {
        let input = input.as_bytes();
        for (sizes, narrow) in [
            (&[][..], false),
            (&[1][..], false),
            (&[][..], true),
            (&[1][..], true),
            (&[5, 11][..], true),
        ] {
            let given = answers(input, sizes, narrow);
            assert_eq!(given, (expected.clone(), false), "split by {sizes:?}, narrow: {narrow}");
        }
    }
}

#[test]
fn each_command_is_answered_the_same_wherever_it_is_split() {
    let input = array(&["SET", "k", "a value\r\nof two lines"])
        + &array(&["GET", "k"])
        + "*0\r\n\r\n*-1\r\nGET \"k\"\r\n"
        + &array(&["QUIT"])
        + "PING\r\n";
    let value = "$21\r\na value\r\nof two lines\r\n";
    let expected = (format!("+OK\r\n{value}{value}+OK\r\n"), true);
    for at in 1..input.len() {
        assert_eq!(answers(input.as_bytes(), &[at, usize::MAX], false), expected, "byte {at}");
    }
}

#[test]
fn inline_commands_and_their_quotes() {
    let table = [
        ("ECHO \"a b\"", "$3\r\na b\r\n"),
        ("ECHO 'a b'", "$3\r\na b\r\n"),
        ("  ECHO\t x  ", "$1\r\nx\r\n"),
        (r#"ECHO "\x41\n\"\\""#, "$4\r\nA\n\"\\\r\n"),
        (r"ECHO 'it\'s \n'", "$7\r\nit's \\n\r\n"),
        ("ECHO \"\"", "$0\r\n\r\n"),
    ];
    for (command, expected) in table {
        assert_eq!(
            answers(format!("{command}\r\n").as_bytes(), &[], false).0,
            expected,
            "{command}"
        );
        assert_eq!(
            answers(format!("{command}\n").as_bytes(), &[1], false).0,
            expected,
            "{command}"
        );
    }
    for command in ["ECHO \"a", "ECHO 'a", "ECHO \"a\"b"] {
        let given = answers(format!("{command}\r\n").as_bytes(), &[], false);
        let error = "-ERR Protocol error: unbalanced quotes in request\r\n";
        assert_eq!(given, (error.into(), true), "{command}");
    }
}

#[test]
fn malformed_commands_end_the_connection_with_the_words_of_redis() {
    let long = "a".repeat(70_000);
    let table = [
        ("*x\r\n", "invalid multibulk length"),
        ("*1048577\r\n", "invalid multibulk length"),
        ("*1\n$4\r\n", "invalid multibulk length"),
        ("*1\r\nPING\r\n", "expected '$', got 'P'"),
        ("*1\r\n$x\r\n", "invalid bulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$2000000\r\n", "invalid bulk length"),
        ("*1\r\n$4\r\nPINGxx", "a bulk string does not end in CR LF"),
        (&long, "too big inline request"),
        (&format!("*{long}"), "too big mbulk count string"),
        (&format!("*1\r\n${long}"), "too big bulk count string"),
    ];
    for (input, reason) in table {
        for sizes in [&[][..], &[1][..], &[1000][..]] {
            let given = answers(input.as_bytes(), sizes, false);
            let start = &input[..input.len().min(20)];
            assert_eq!(given, (format!("-ERR Protocol error: {reason}\r\n"), true), "{start}");
        }
    }
}

#[test]
fn keys_and_values_at_their_bounds() {
    let key = "k".repeat(250);
    let value = "v".repeat(900_000);
    let input = array(&["SET", &key, &value]) + &array(&["GET", &key]);
    for sizes in [&[][..], &[1460][..]] {
        let (given, closed) = answers(input.as_bytes(), sizes, true);
        assert!(given == format!("+OK\r\n$900000\r\n{value}\r\n") && !closed);
    }
    let long = "k".repeat(251);
    let error = "-ERR invalid key: must have 1 to 250 bytes\r\n";
    for key in ["", &long] {
        let input = array(&["SET", key, "1"])
            + &array(&["INCR", key])
            + &array(&["GET", key])
            + &array(&["DEL", key])
            + &array(&["EXISTS", key])
            + &array(&["TTL", key]);
        let expected = format!("{error}{error}$-1\r\n:0\r\n:0\r\n:-2\r\n");
        assert_eq!(answers(input.as_bytes(), &[], false).0, expected);
    }
    let most = "v".repeat((1 << 20) - 10);
    let input = array(&["SET", "k", &most]);
    let error = "-ERR string exceeds maximum allowed size\r\n";
    assert_eq!(answers(input.as_bytes(), &[], false), (error.into(), false));
}

#[test]
fn items_expire() {
    let mut line = Line::open(app(), 6379);
    line.offer(b"SET a 1 EX 10\r\n");
    line.app.clock(Seconds::of(NOW + 9));
    line.offer(b"TTL a\r\n");
    line.app.clock(Seconds::of(NOW + 10));
    line.offer(b"TTL a\r\nGET a\r\n");
    assert_eq!(line.take(), b"+OK\r\n:1\r\n:-2\r\n$-1\r\n");
}

#[test]
fn numbers_counted_by_several_threads_add_up() {
    let store = store();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut line = Line::open(application(Arc::clone(&store)), 6379);
                for _ in 0..500 {
                    line.offer(b"INCR n\r\n");
                    line.take();
                }
            });
        }
    });
    let mut line = Line::open(application(store), 6379);
    line.offer(b"GET n\r\n");
    assert_eq!(line.take(), b"$4\r\n2000\r\n");
}

proptest! {
    #[test]
    fn any_input_gets_the_same_answers_whatever_the_split(
        picks in prop::collection::vec((0..TALK.len(), any::<bool>()), 1..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..4),
        sizes in prop::collection::vec(1usize..40, 1..4),
        narrow in any::<bool>(),
    ) {
        let mut input = Vec::new();
        for (pick, is_inline) in picks {
            let (command, _) = TALK[pick];
            let words: Vec<&str> = command.split(' ').collect();
            let text = if is_inline { format!("{command}\r\n") } else { array(&words) };
            input.extend_from_slice(text.as_bytes());
        }
        for (index, byte, how) in damage {
            let at = index.index(input.len());
            match how {
                0 => input[at] = byte,
                1 => input.insert(at, byte),
                2 => input.truncate(at + 1),
                _ => { input.remove(at); }
            }
            if input.is_empty() {
                input.push(byte);
            }
        }
        let whole = answers(&input, &[], false);
        prop_assert_eq!(answers(&input, &sizes, narrow), whole);
    }

    /// Pieces of the protocol in any order, with any bytes between them.
    #[test]
    fn any_pieces_get_the_same_answers_whatever_the_split(
        chunks in prop::collection::vec(prop::sample::select(PIECES), 1..25),
        bytes in prop::collection::vec(any::<u8>(), 0..4),
        choice in any::<u8>(),
    ) {
        let mut data = vec![choice];
        for (at, chunk) in chunks.iter().enumerate() {
            data.extend_from_slice(chunk.as_bytes());
            data.extend(bytes.get(at));
        }
        fuzz_resp(&data);
    }
}

#[rustfmt::skip]
const PIECES: &[&str] = &[
    "*1\r\n", "*2\r\n", "*3\r\n", "*0\r\n", "*-1\r\n", "$4\r\nPING\r\n", "$3\r\nGET\r\n",
    "$3\r\nSET\r\n", "$1\r\na\r\n", "$0\r\n\r\n", "$4\r\nINCR\r\n", "SET a \"1 2\"\r\n",
    "GET a\r\n", "\r\n", "\n", "'", "PING\r\n", "$9999999\r\n", "QUIT\r\n", "SET a 7\n", "INCR a\n",
];
