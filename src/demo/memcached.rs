//! memcached's part of the demonstration: one request of each kind with its answer. The store must
//! be empty at first. An unexpected answer is an error.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Limit for connecting, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Requests, and the answers of an empty store to them, in this order.
const CONVERSATION: &[(&str, &str)] = &[
    ("set visits 0 0 2\r\n41\r\n", "STORED\r\n"),
    ("incr visits 1\r\n", "42\r\n"),
    ("get visits\r\n", "VALUE visits 0 2\r\n42\r\nEND\r\n"),
    ("gets visits\r\n", "VALUE visits 0 2 2\r\n42\r\nEND\r\n"),
];

/// Sends the requests one by one. Returns a line for each, with line ends shown as spaces.
pub(super) fn converse(target: SocketAddr) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    CONVERSATION
        .iter()
        .map(|(request, expected)| exchange(&mut stream, request, expected))
        .collect()
}

fn exchange(stream: &mut TcpStream, request: &str, expected: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    if answer != expected {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("{request:?} was answered {answer:?}"),
        ));
    }
    Ok(format!("{} -> {}", in_a_line(request), in_a_line(&answer)))
}

fn in_a_line(text: &str) -> String {
    text.trim_end().replace("\r\n", " | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn asked(answers: &'static [&'static str]) -> io::Result<Vec<String>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            for answer in answers {
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let lines = converse(target);
        server.join().unwrap();
        lines
    }

    #[test]
    fn each_answer_is_compared_and_shown() {
        let lines = asked(&[
            "STORED\r\n",
            "42\r\n",
            "VALUE visits 0 2\r\n42\r\nEND\r\n",
            "VALUE visits 0 2 2\r\n42\r\nEND\r\n",
        ]);
        assert_eq!(lines.unwrap()[3], "gets visits -> VALUE visits 0 2 2 | 42 | END");
        let error = asked(&["STORED\r\n", "41\r\n"]).unwrap_err();
        assert!(
            error.to_string().contains(r#""incr visits 1\r\n" was answered "41\r\n""#),
            "{error}"
        );
    }
}
